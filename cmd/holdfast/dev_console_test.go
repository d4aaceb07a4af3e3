package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever the pieces in which lines arrive, they leave whole and in order.
func TestLineWriterCutsLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-z]{0,20}`)).Draw(t, "lines")
		rest := strings.Join(lines, "\n") + "\n"
		var got []string
		w := lineWriter{prefix: "> ", put: func(line string) { got = append(got, line) }}
		for rest != "" {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			if written, err := w.Write([]byte(rest[:n])); written != n || err != nil {
				t.Fatal(written, err)
			}
			rest = rest[n:]
		}
		want := "> " + strings.Join(lines, "\n> ") + "\n"
		if strings.Join(got, "") != want {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

func TestLineWriterBoundsALine(t *testing.T) {
	total := 0
	w := lineWriter{put: func(line string) {
		require.LessOrEqual(t, len(line), longestLine+1)
		total += len(line) - 1
	}}
	for range 10 {
		_, _ = w.Write(bytes.Repeat([]byte("x"), longestLine/2+7))
	}
	_, _ = w.Write([]byte("\n"))
	require.Equal(t, 10*(longestLine/2+7), total)
}

func TestConsoleNeverHoldsUpWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe() // a terminal that nobody reads
		c := newConsole(write)
		w := c.prefixed("node-1")
		for i := range 3 * consoleLines {
			fmt.Fprintf(w, "line %d\n", i)
		}
		synctest.Wait()
		require.Positive(t, c.lost.Load())

		var printed bytes.Buffer
		done := make(chan struct{})
		go func() { _, _ = io.Copy(&printed, read); close(done) }()
		c.close()
		write.Close()
		<-done
		require.Contains(t, printed.String(), "node-1  | line 0\n")
		require.Contains(t, printed.String(), "lines dropped")
		require.Zero(t, c.lost.Load())
	})
}

func TestConsoleEndsThoughTheTerminalIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		c := newConsole(write)
		c.say("hello")
		c.close() // returns by its timeout, in the bubble's time
		read.Close()
		<-c.printed
	})
}

func TestColours(t *testing.T) {
	c := newConsole(io.Discard)
	c.coloured = true
	w := c.prefixed("node-1").(*lineWriter)
	require.True(t, strings.HasPrefix(w.prefix, "\x1b["))
	require.True(t, strings.HasSuffix(w.prefix, resetColour))
	c.close()
	require.False(t, colourful(&bytes.Buffer{}))
}
