package main

import (
	"io"
	"os"
	"strconv"
)

// defaultColumns is the width of output that goes to no terminal.
const defaultColumns = 80

// columnsOf returns how many columns a line written to w can have: what
// $COLUMNS says, else the terminal's width.
func columnsOf(w io.Writer) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if f, ok := w.(*os.File); ok {
		if n, ok := terminalColumns(f); ok && n > 0 {
			return n
		}
	}
	return defaultColumns
}

// colourful reports whether w is a terminal that may get colours. See
// https://no-color.org for NO_COLOR.
func colourful(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, ok = terminalColumns(f)
	return ok
}
