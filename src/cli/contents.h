/* SPDX-License-Identifier: Apache-2.0 */
/** @file contents.h  What is in a file that `warp` can load, without running or compiling it. */
#pragma once
#include "base/base.h"

enum { CLI_CONTENTS_MAX = 128, CLI_CONTENTS_TEXT = 64 };

typedef enum cli_format {
  CLI_FORMAT_COMPONENT,
  CLI_FORMAT_MODULE,
  CLI_FORMAT_CWASM, /**< native code that Wasmtime compiled: an ELF file */
  CLI_FORMAT_TEXT   /**< taken for .wat */
} cli_format;

/** Sections of one name, together. */
typedef struct cli_content {
  char name[CLI_CONTENTS_TEXT]; /**< cut when it is longer */
  bool custom;
  bool inner; /**< of the core modules inside of a component */
  uint32_t count;
  uint64_t bytes;
} cli_content;

/** A tool that made it: the "producers" section. */
typedef struct cli_producer {
  char field[CLI_CONTENTS_TEXT]; /**< "language", "processed-by", "sdk" */
  char name[CLI_CONTENTS_TEXT], version[CLI_CONTENTS_TEXT];
} cli_producer;

typedef struct cli_contents {
  cli_format format;
  uint64_t bytes;
  cli_content sections[CLI_CONTENTS_MAX]; /**< what does not fit is left out */
  size_t section_count;
  cli_producer producers[CLI_CONTENTS_MAX];
  size_t producer_count;
} cli_contents;

/** @return WG_OK; WG_COMPONENT: it is cut short or malformed. *out is what was read until there */
WG_MUSTCHECK wg_code cli_contents_read(const void *bytes, size_t len, cli_contents *out,
                                       wg_error *err);
/** "component", "core module", "compiled component", "text" */
const char *cli_format_name(cli_format f);
