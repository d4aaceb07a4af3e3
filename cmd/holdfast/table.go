package main

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// columnGap is the number of spaces between two columns.
const columnGap = 2

// table is text in columns, as wide as their widest cell.
type table struct {
	header []string // none when nil
	right  []int    // the columns that are aligned to the right
	rows   [][]string
	// colour, if not nil, says in which colour a cell of a row is shown.
	colour func(row, column int) string
	look   look
}

// fit takes out columns, in the order given, until a line has room, and returns
// the columns that are left over.
func (t *table) fit(dispensable ...string) (left int) {
	for _, name := range dispensable {
		if t.look.whole || t.width() <= t.look.columns {
			break
		}
		if i := slices.Index(t.header, name); i >= 0 {
			t.remove(i)
		}
	}
	return t.look.columns - t.width()
}

// leastText is the narrowest column in which sentences can be read.
const leastText = 20

// wrapLast breaks the cells of the last column, which are text, into rows of
// their own until they fit, if there is room for any.
func (t *table) wrapLast() {
	last := len(t.widths()) - 1
	room := t.look.columns - (t.width() - t.widths()[last])
	if t.look.whole || room < leastText {
		return
	}
	var rows [][]string
	for _, row := range t.rows {
		b := helpText{width: room}
		b.wrap("", 0, row[last])
		for i, text := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
			cells := make([]string, last)
			if i == 0 {
				copy(cells, row)
			}
			rows = append(rows, append(cells, text))
		}
	}
	t.rows = rows
}

// cutLast takes columns off the longest cells of the last column.
func (t *table) cutLast(columns int) {
	last := len(t.widths()) - 1
	most := max(t.widths()[last]-columns, 1)
	for i, row := range t.rows {
		if cell := []rune(row[last]); len(cell) > most {
			t.rows[i] = append(slices.Clone(row[:last]), string(cell[:most-1])+"…")
		}
	}
}

func (t *table) remove(column int) {
	t.header = slices.Delete(slices.Clone(t.header), column, column+1)
	for i, row := range t.rows {
		t.rows[i] = slices.Delete(slices.Clone(row), column, column+1)
	}
	var right []int
	for _, c := range t.right {
		switch {
		case c < column:
			right = append(right, c)
		case c > column:
			right = append(right, c-1)
		}
	}
	t.right = right
}

// lines returns the header, if any, and the rows.
func (t *table) lines() [][]string {
	if t.header == nil {
		return t.rows
	}
	return append([][]string{t.header}, t.rows...)
}

func (t *table) widths() []int {
	var widths []int
	for _, row := range t.lines() {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(printable(cell)))
		}
	}
	return widths
}

// width returns the columns that the longest line takes.
func (t *table) width() int {
	total := 0
	for i, w := range t.widths() {
		if i > 0 {
			total += columnGap
		}
		total += w
	}
	return total
}

func (t *table) write(w io.Writer) error {
	_, err := io.WriteString(w, t.String())
	return err
}

func (t *table) String() string {
	widths := t.widths()
	var b strings.Builder
	first := 0 // the line of the first row
	if t.header != nil {
		first = 1
	}
	for n, row := range t.lines() {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString(strings.Repeat(" ", columnGap))
			}
			cell = printable(cell)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if n >= first && t.colour != nil {
				cell = t.look.paint(t.colour(n-first, i), cell)
			}
			if slices.Contains(t.right, i) {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// printable replaces what could move the cursor: keys and members' names come
// from others.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}

// naturalCompare orders node-2 before node-10.
func naturalCompare(a, b string) int {
	aHead, aNumber := splitNumber(a)
	bHead, bNumber := splitNumber(b)
	return cmp.Or(cmp.Compare(aHead, bHead), cmp.Compare(aNumber, bNumber), cmp.Compare(a, b))
}

// splitNumber splits a name into what comes before a number at its end, and
// that number, or -1.
func splitNumber(s string) (head string, number int) {
	head = strings.TrimRight(s, "0123456789")
	number, err := strconv.Atoi(s[len(head):])
	if err != nil {
		return s, -1
	}
	return head, number
}
