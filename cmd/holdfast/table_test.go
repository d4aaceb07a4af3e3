package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTableLinesUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 5).Draw(t, "columns")
		cell := rapid.StringOf(rapid.RuneFrom([]rune("ab█é·\x1b\n\t")))
		row := rapid.SliceOfN(cell, columns, columns)
		tb := table{header: row.Draw(t, "header"), rows: rapid.SliceOfN(row, 0, 5).Draw(t, "rows"), right: []int{columns - 1}}
		lines := strings.Split(strings.TrimSuffix(tb.String(), "\n"), "\n")
		if len(lines) != len(tb.rows)+1 {
			t.Fatalf("%d lines of %d rows", len(lines), len(tb.rows))
		}
		for _, line := range lines {
			if n := len([]rune(line)); n > tb.width() {
				t.Fatalf("a line of %d columns in a table of %d", n, tb.width())
			}
			if strings.ContainsAny(line, "\x1b\t") {
				t.Fatalf("%q can move the cursor", line)
			}
		}
	})
}

func TestBarsFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 1024).Draw(t, "most")
		value := rapid.IntRange(0, most).Draw(t, "value")
		width := rapid.IntRange(leastBar, 300).Draw(t, "width")
		if n := len([]rune(bar(value, most, width))); n > width {
			t.Fatalf("a bar of %d in %d columns", n, width)
		}
		if n := len([]rune(bar(most, most, width))); n != width {
			t.Fatalf("the longest bar has %d of %d columns", n, width)
		}
	})
}

func TestNaturalOrder(t *testing.T) {
	names := []string{"node-10", "b", "node-2", "node", "a9", "node-1", "a10", "node-01"}
	slices.SortFunc(names, naturalCompare)
	require.Equal(t, []string{"a9", "a10", "b", "node", "node-01", "node-1", "node-2", "node-10"}, names)
}
