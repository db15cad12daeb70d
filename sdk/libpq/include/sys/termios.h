/* SPDX-License-Identifier: Apache-2.0 */
/* libpq includes this where there is no <termios.h>, and does without what is not in it. */
