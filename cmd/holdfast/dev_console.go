package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

const (
	consoleLines = 1024            // lines waiting to be printed; more are dropped and counted
	longestLine  = 16 << 10        // bytes of one line; the rest goes on a line of its own
	closeTimeout = time.Second / 2 // how long a blocked terminal can hold up the end
	nameWidth    = len("node-10 ") // so that shorter names line up
	resetColour  = "\x1b[0m"
)

var nameColours = []string{"\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[34m", "\x1b[31m"}

// console prints the lines of several writers one after the other. Writers
// never wait: when the terminal is stopped, lines are dropped and counted
// rather than the children held up by their own logs.
type console struct {
	w        io.Writer
	lines    chan string
	lost     atomic.Int64
	closing  chan struct{} // closed when no more lines come
	printed  chan struct{} // closed when all have been printed
	coloured bool
	names    int // how many writers there are, for the next colour
}

func newConsole(w io.Writer) *console {
	c := &console{
		w: w, coloured: colourful(w),
		lines: make(chan string, consoleLines), closing: make(chan struct{}), printed: make(chan struct{}),
	}
	go c.print()
	return c
}

func (c *console) print() {
	defer close(c.printed)
	for {
		select {
		case line := <-c.lines:
			c.write(line)
		case <-c.closing:
			for len(c.lines) > 0 { // this goroutine is the only reader
				c.write(<-c.lines)
			}
			return
		}
	}
}

// write ignores errors: that the terminal is gone is told by SIGHUP.
func (c *console) write(line string) {
	_, _ = io.WriteString(c.w, line)
	if n := c.lost.Swap(0); n > 0 {
		_, _ = fmt.Fprintf(c.w, "… %d lines dropped: they came faster than they could be printed\n", n)
	}
}

// close prints what is left, unless the terminal is stopped. It is called once.
func (c *console) close() {
	close(c.closing)
	select {
	case <-c.printed:
	case <-time.After(closeTimeout):
	}
}

func (c *console) put(line string) {
	select {
	case c.lines <- line:
	default:
		c.lost.Add(1)
	}
}

// say prints a message of dev itself.
func (c *console) say(format string, args ...any) {
	c.put(strings.TrimRight(fmt.Sprintf(format, args...), "\n") + "\n")
}

// prefixed returns a writer that puts a name before each line written to it.
// It is for one goroutine.
func (c *console) prefixed(name string) io.Writer {
	prefix := fmt.Sprintf("%-*s| ", nameWidth, name)
	if c.coloured {
		prefix = nameColours[c.names%len(nameColours)] + prefix + resetColour
		c.names++
	}
	return &lineWriter{prefix: prefix, put: c.put}
}

// lineWriter cuts what is written to it into lines.
type lineWriter struct {
	prefix string
	put    func(line string)
	rest   []byte // the start of a line whose end has not come
}

func (l *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		line, more, found := bytes.Cut(b, []byte{'\n'})
		if room := longestLine - len(l.rest); len(line) > room {
			line, more, found = b[:room], b[room:], true
		}
		l.rest = append(l.rest, line...)
		if found {
			l.put(l.prefix + string(l.rest) + "\n")
			l.rest = l.rest[:0]
		}
		b = more
	}
	return n, nil
}
