/* SPDX-License-Identifier: Apache-2.0 */
/** @file complete.c  Completion scripts. They hold the whole table, so that a shell asks no
 *  process while somebody types. */
#include "cli/doc/doc.h"

#include <string.h>

/** What the value of an option is completed by. */
typedef enum value_kind {
  VALUE_NONE,
  VALUE_ANY,
  VALUE_FILE,
  VALUE_FOLDER,
  VALUE_CHOICE
} value_kind;

static value_kind kind_of(const cli_option *o) {
  if (!o->value) return VALUE_NONE;
  if (o->choices) return VALUE_CHOICE;
  if (strcmp(o->value, "FILE") == 0) return VALUE_FILE;
  return strcmp(o->value, "DIR") == 0 ? VALUE_FOLDER : VALUE_ANY;
}

static value_kind operand_kind(const cli_command *c) {
  switch (c->needs) {
  case CLI_NO_FILE: return VALUE_NONE;
  case CLI_FILE_OR_CONFIG:
  case CLI_FILE_AND_REST: return VALUE_FILE;
  case CLI_FOLDER: return VALUE_FOLDER;
  case CLI_WORD:
  case CLI_WORD_OR_NONE:
  case CLI_NAME_AND_WORD: return VALUE_CHOICE;
  }
  return VALUE_NONE;
}

static void put_choices(wg_buf *out, const char *choices) {
  const char *word;
  size_t len;
  for (bool first = true; cli_next_choice(&choices, &word, &len); first = false)
    wg_buf_printf(out, "%s%.*s", first ? "" : " ", (int)len, word);
}

static void put_words(wg_buf *out, const cli_command *c) {
  char words[64][32];
  cli_doc_words(c, words);
  for (size_t i = 0; words[i][0]; i++) wg_buf_printf(out, "%s%s", i ? " " : "", words[i]);
}

/** Text inside of single quotes; characters of `marked` get a backslash. */
static void put_quoted(wg_buf *out, const char *text, const char *marked) {
  for (const char *p = text; *p; p++) {
    if (*p == '\n' || *p == '`') {
      if (*p == '\n') wg_buf_put_u8(out, ' ');
    } else if (*p == '\'') {
      wg_buf_printf(out, "'\\''");
    } else {
      if (strchr(marked, *p)) wg_buf_put_u8(out, '\\');
      wg_buf_put_u8(out, (uint8_t)*p);
    }
  }
}

/* ---- bash ---- */

static void bash_value(wg_buf *out, const cli_command *c, const cli_option *o) {
  if (!o->value) return;
  wg_buf_printf(out, "    %s/--%s", c->name, o->name);
  if (o->letter) wg_buf_printf(out, " | %s/-%c", c->name, o->letter);
  wg_buf_printf(out, ") ");
  switch (kind_of(o)) {
  case VALUE_CHOICE:
    wg_buf_printf(out, "words='");
    put_choices(out, o->choices);
    wg_buf_printf(out, "' ;;\n");
    break;
  case VALUE_FILE: wg_buf_printf(out, "names=-f ;;\n"); break;
  case VALUE_FOLDER: wg_buf_printf(out, "names=-d ;;\n"); break;
  case VALUE_ANY:
  case VALUE_NONE: wg_buf_printf(out, "return ;;\n"); break;
  }
}

static void bash_names(wg_buf *out, const cli_option *list) {
  for (const cli_option *o = list; o->name; o++) wg_buf_printf(out, " --%s", o->name);
}

static void put_bash(wg_buf *out) {
  wg_buf_printf(out, "# Completion of warp for bash: source <(warp completion bash)\n"
                     "_warp() {\n"
                     "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                     "  local command= words= names= options= i\n"
                     "  # --option=value arrives as three words.\n"
                     "  if [[ $cur == '=' ]]; then\n"
                     "    cur=\n"
                     "  elif [[ $prev == '=' ]]; then\n"
                     "    prev=${COMP_WORDS[COMP_CWORD-2]}\n"
                     "  fi\n"
                     "  COMPREPLY=()\n"
                     "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
                     "    if [[ ${COMP_WORDS[i]} == -- ]]; then\n"
                     "      compopt -o default 2>/dev/null\n"
                     "      return\n"
                     "    fi\n"
                     "    if [[ -z $command && ${COMP_WORDS[i]} != -* ]]; then\n"
                     "      command=${COMP_WORDS[i]}\n"
                     "    fi\n"
                     "  done\n"
                     "  case $command/$prev in\n");
  for (size_t i = 0; i < cli_command_count; i++) {
    const cli_command *c = &cli_commands[i];
    for (const cli_option *o = c->options; o->name; o++) bash_value(out, c, o);
    for (const cli_option *o = cli_common_options; o->name; o++) bash_value(out, c, o);
  }
  wg_buf_printf(out, "    *)\n      case $command in\n        '')\n          options='");
  bash_names(out, cli_global_options);
  wg_buf_printf(out, "' words='");
  for (size_t i = 0; i < cli_command_count; i++)
    wg_buf_printf(out, "%s%s", i ? " " : "", cli_commands[i].name);
  wg_buf_printf(out, "' ;;\n");
  for (size_t i = 0; i < cli_command_count; i++) {
    const cli_command *c = &cli_commands[i];
    wg_buf_printf(out, "        %s)\n          options='", c->name);
    bash_names(out, c->options);
    bash_names(out, cli_common_options);
    wg_buf_put_u8(out, '\'');
    value_kind kind = operand_kind(c);
    if (kind == VALUE_FILE) wg_buf_printf(out, " names=-f");
    if (kind == VALUE_FOLDER) wg_buf_printf(out, " names=-d");
    if (kind == VALUE_CHOICE) {
      wg_buf_printf(out, " words='");
      put_words(out, c);
      wg_buf_put_u8(out, '\'');
    }
    wg_buf_printf(out, " ;;\n");
  }
  wg_buf_printf(out, "      esac\n"
                     "      if [[ $cur == -* || -z $words$names ]]; then\n"
                     "        words=$options names=\n"
                     "      fi ;;\n"
                     "  esac\n"
                     "  if [[ -n $names ]]; then\n"
                     "    compopt -o filenames 2>/dev/null\n"
                     "    mapfile -t COMPREPLY < <(compgen \"$names\" -- \"$cur\")\n"
                     "  else\n"
                     "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                     "  fi\n"
                     "}\n"
                     "complete -F _warp warp\n");
}

/* ---- zsh ---- */

static void zsh_option(wg_buf *out, const cli_option *o) {
  wg_buf_printf(out, " \\\n        ");
  if (o->letter && !o->repeats)
    wg_buf_printf(out, "'(-%c --%s)'{-%c,--%s}", o->letter, o->name, o->letter, o->name);
  else if (o->letter)
    wg_buf_printf(out, "'*'{-%c,--%s}", o->letter, o->name);
  else
    wg_buf_printf(out, "'%s--%s'", o->repeats ? "*" : "", o->name);
  wg_buf_printf(out, "'%s[", o->value && !o->letter ? "=" : "");
  put_quoted(out, o->help, "[]:\\");
  wg_buf_put_u8(out, ']');
  switch (kind_of(o)) {
  case VALUE_NONE: break;
  case VALUE_ANY: wg_buf_printf(out, ":%s: ", o->name); break;
  case VALUE_FILE: wg_buf_printf(out, ":%s:_files", o->name); break;
  case VALUE_FOLDER: wg_buf_printf(out, ":%s:_files -/", o->name); break;
  case VALUE_CHOICE:
    wg_buf_printf(out, ":%s:(", o->name);
    put_choices(out, o->choices);
    wg_buf_put_u8(out, ')');
    break;
  }
  wg_buf_put_u8(out, '\'');
}

static void put_zsh(wg_buf *out) {
  wg_buf_printf(out, "#compdef warp\n"
                     "# Completion of warp for zsh: source <(warp completion zsh), after compinit\n"
                     "_warp() {\n"
                     "  local -a commands\n"
                     "  commands=(\n");
  for (size_t i = 0; i < cli_command_count; i++) {
    wg_buf_printf(out, "    '%s:", cli_commands[i].name);
    put_quoted(out, cli_commands[i].summary, ":\\");
    wg_buf_printf(out, "'\n");
  }
  wg_buf_printf(out, "  )\n"
                     "  if (( CURRENT == 2 )); then\n"
                     "    _describe 'command' commands\n"
                     "    _arguments");
  for (const cli_option *o = cli_global_options; o->name; o++) zsh_option(out, o);
  wg_buf_printf(out, "\n    return\n"
                     "  fi\n"
                     "  local command=$words[2]\n"
                     "  (( CURRENT-- ))\n"
                     "  shift words\n"
                     "  case $command in\n");
  for (size_t i = 0; i < cli_command_count; i++) {
    const cli_command *c = &cli_commands[i];
    wg_buf_printf(out, "    %s)\n      _arguments", c->name);
    for (const cli_option *o = c->options; o->name; o++) zsh_option(out, o);
    for (const cli_option *o = cli_common_options; o->name; o++) zsh_option(out, o);
    switch (operand_kind(c)) {
    case VALUE_FILE: wg_buf_printf(out, " \\\n        '1:file:_files'"); break;
    case VALUE_FOLDER: wg_buf_printf(out, " \\\n        '1:folder:_files -/'"); break;
    case VALUE_CHOICE:
      if (c->needs == CLI_NAME_AND_WORD)
        wg_buf_printf(out, " \\\n        '1:%s: '", c->name_operand);
      wg_buf_printf(out, " \\\n        '%d:%s:(", c->needs == CLI_NAME_AND_WORD ? 2 : 1,
                    c->operand);
      put_words(out, c);
      wg_buf_printf(out, ")'");
      break;
    case VALUE_ANY:
    case VALUE_NONE: break;
    }
    if (c->needs == CLI_FILE_AND_REST) wg_buf_printf(out, " \\\n        '*:argument:_files'");
    wg_buf_printf(out, " ;;\n");
  }
  /* As a file of $fpath it is called at once; sourced, it registers itself. */
  wg_buf_printf(out, "  esac\n"
                     "}\n"
                     "if [[ $funcstack[1] == _warp ]]; then\n"
                     "  _warp \"$@\"\n"
                     "elif (( $+functions[compdef] )); then\n"
                     "  compdef _warp warp\n"
                     "fi\n");
}

/* ---- fish ---- */

static void fish_option(wg_buf *out, const char *command, const cli_option *o) {
  if (command)
    wg_buf_printf(out, "complete -c warp -n '__fish_seen_subcommand_from %s'", command);
  else
    wg_buf_printf(out, "complete -c warp -n __fish_use_subcommand");
  wg_buf_printf(out, " -l %s", o->name);
  if (o->letter) wg_buf_printf(out, " -s %c", o->letter);
  switch (kind_of(o)) {
  case VALUE_NONE: break;
  case VALUE_ANY: wg_buf_printf(out, " -x"); break;
  case VALUE_FILE: wg_buf_printf(out, " -r -F"); break;
  case VALUE_FOLDER: wg_buf_printf(out, " -x -a '(__fish_complete_directories)'"); break;
  case VALUE_CHOICE:
    wg_buf_printf(out, " -x -a '");
    put_choices(out, o->choices);
    wg_buf_put_u8(out, '\'');
    break;
  }
  wg_buf_printf(out, " -d '");
  put_quoted(out, o->help, "\\");
  wg_buf_printf(out, "'\n");
}

static void put_fish(wg_buf *out) {
  wg_buf_printf(out, "# Completion of warp for fish: warp completion fish "
                     "> ~/.config/fish/completions/warp.fish\n"
                     "complete -c warp -f\n");
  for (const cli_option *o = cli_global_options; o->name; o++) fish_option(out, NULL, o);
  for (size_t i = 0; i < cli_command_count; i++) {
    const cli_command *c = &cli_commands[i];
    wg_buf_printf(out, "complete -c warp -n __fish_use_subcommand -a %s -d '", c->name);
    put_quoted(out, c->summary, "\\");
    wg_buf_printf(out, "'\n");
    static const char seen[] = "complete -c warp -n '__fish_seen_subcommand_from";
    switch (operand_kind(c)) {
    case VALUE_FILE: wg_buf_printf(out, "%s %s' -F\n", seen, c->name); break;
    case VALUE_FOLDER:
      wg_buf_printf(out, "%s %s' -a '(__fish_complete_directories)'\n", seen, c->name);
      break;
    case VALUE_CHOICE:
      wg_buf_printf(out, "%s %s' -a '", seen, c->name);
      put_words(out, c);
      wg_buf_printf(out, "'\n");
      break;
    case VALUE_ANY:
    case VALUE_NONE: break;
    }
    for (const cli_option *o = c->options; o->name; o++) fish_option(out, c->name, o);
    for (const cli_option *o = cli_common_options; o->name; o++) fish_option(out, c->name, o);
  }
}

void cli_doc_completion(wg_buf *out, cli_shell shell) {
  switch (shell) {
  case CLI_BASH: put_bash(out); break;
  case CLI_ZSH: put_zsh(out); break;
  case CLI_FISH: put_fish(out); break;
  }
}
