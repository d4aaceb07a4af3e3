package clients

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// row is what one trial has shown.
type row struct {
	library, version string
	exercised        []string
	skipped          string // why
	failed           bool
}

func (r *row) result() string {
	switch {
	case r.failed:
		return "FAILED"
	case r.skipped != "":
		return "skipped: " + r.skipped
	default:
		return "passed"
	}
}

func complete(rows []*row) bool {
	for _, r := range rows {
		if r.result() != "passed" {
			return false
		}
	}
	return len(rows) == len(trials)
}

func render(rows []*row) string {
	var b strings.Builder
	b.WriteString("| client or library | version | exercised | result |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.library, r.version, strings.Join(r.exercised, "; "), r.result())
	}
	return b.String()
}

// replaceBetween writes text between the markers of a name in a Markdown file.
func replaceBetween(file, name, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
	before, rest, found := bytes.Cut(old, []byte(begin))
	_, after, found2 := bytes.Cut(rest, []byte(end))
	if !found || !found2 {
		return fmt.Errorf("%s has no lines %q and %q", file, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(file, []byte(string(before)+begin+text+end+string(after)), 0o644)
}

func TestReplaceBetween(t *testing.T) {
	file := t.TempDir() + "/doc.md"
	require.NoError(t, os.WriteFile(file, []byte("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n"), 0o600))
	require.NoError(t, replaceBetween(file, "x", "new\n"))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb\n", string(text))
	require.ErrorContains(t, replaceBetween(file, "y", "new\n"), "y: begin")
}

func TestATrialThatWasSkippedIsNotComplete(t *testing.T) {
	rows := make([]*row, len(trials))
	for i := range rows {
		rows[i] = &row{}
	}
	require.True(t, complete(rows))
	rows[1].skipped = "no such program"
	require.False(t, complete(rows))
	rows[1] = &row{failed: true}
	require.False(t, complete(rows))
}
