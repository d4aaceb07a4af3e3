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

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, ok = terminalColumns(f)
	return ok
}

// colourful reports whether w is a terminal that may get colours. See
// https://no-color.org for NO_COLOR.
func colourful(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// look is how what is written will be seen.
type look struct {
	columns  int
	coloured bool
	whole    bool // nobody told a width, so nothing is left out for one
}

func lookOf(w io.Writer) look {
	return look{columns: columnsOf(w), coloured: colourful(w), whole: !isTerminal(w) && os.Getenv("COLUMNS") == ""}
}

// plain is the same without colours.
func (l look) plain() look {
	l.coloured = false
	return l
}

// The colours of words. A colour is never all that tells: the word is there.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	cyan   = "\x1b[36m"
	faint  = "\x1b[2m"
)

func (l look) paint(colour, text string) string {
	if !l.coloured || colour == "" || text == "" {
		return text
	}
	return colour + text + resetColour
}

// stateColour is the colour of a member's state.
func stateColour(state string) string {
	switch state {
	case "ready":
		return green
	case "gone", "unfit", "unreached":
		return red
	case "superseded", "left":
		return faint
	default: // joining, leaving
		return yellow
	}
}
