package session

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// A page ends with the record that reaches one of these, so that an answer fits
// into a frame of the peer link and a request is not held up for long behind
// one. Each page of a list costs a pass over its partition, so they are larger:
// a million sessions of one tag are some dozens of passes.
const (
	scanRecords = 1000
	scanBytes   = 256 << 10
	listRecords = 16 << 10
	listBytes   = 4 << 20
)

// deletePage is how many sessions one page of a DeleteAll ends: so many as are
// copied within a few tenths of a second.
const deletePage = 8 << 10

// FirstPage is the NewKey of a List that asks for the first page. It comes
// before every key that has a {tag}.
const FirstPage = "\x00"

// LaterPage is the NewKey of the nth page of a DeleteAll, whose first has
// FirstPage. What it does is the same; it tells the pages of one request apart.
func LaterPage(n int) string { return FirstPage + strconv.Itoa(n) }

// Page returns the sessions of the page that op, a List, was answered with, and
// the NewKey that asks for the next one, "" if this is the last. An owner of an
// older version knows no pages, and answers with the whole list each time: then
// the first has all, and the second nothing.
func (op *Op) Page(res Result) (records []*Record, next string) {
	records = res.Records
	if len(records) == 0 || records[0].key <= op.NewKey {
		return nil, ""
	}
	size := int64(0)
	for _, rec := range records {
		size += rec.bytes()
	}
	if len(records) >= listRecords || size >= listBytes {
		next = records[len(records)-1].key
	}
	return records, next
}

// scan reads one page of a partition: the live sessions whose keys come after
// op.NewKey, in order of key. An empty page is the end. Sessions that are
// created or deleted between two pages may be in the scan or not; every other
// one is in it once.
func (s *Store) scan(p *partition, op *Op, now int64) (res Result, err error) {
	all := func(string) bool { return true }
	res.Records, err = p.page(op.NewKey, now, all, scanRecords, scanBytes)
	return res, err
}

// page returns the live sessions whose keys come after one, and that keep
// picks, in order of key: some records at most, and no more than reach so many
// bytes.
//
// Only the look at what is there is done under the lock. Records never change,
// so the choice can follow it.
func (p *partition) page(after string, now int64, keep func(key string) bool, records int, bytes int64) ([]*Record, error) {
	var first []*Record // those that come first, and some more
	order := func() {
		slices.SortFunc(first, func(a, b *Record) int { return strings.Compare(a.key, b.key) })
		first = first[:min(records, len(first))]
	}
	last := "" // none that comes after it is in the page
	err := p.walk(func(some []held) bool {
		for _, h := range some {
			key := h.rec.key
			if key <= after || last != "" && key > last || h.presence(now) != live || !keep(key) {
				continue
			}
			if first = append(first, h.rec); len(first) == 2*records {
				order()
				last = first[records-1].key
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	order()
	size := int64(0)
	for i, rec := range first {
		if size >= bytes {
			return first[:i], nil
		}
		size += rec.bytes()
	}
	return first, nil
}

const (
	// walkPages is how many pages a large partition is read in at most, as long
	// as they are not longer than pageRecords: the slots for one of them.
	walkPages   = 128
	pageRecords = 8 << 10
)

// lowest keeps, of what it is given, those with the lowest places: about most
// of them, in memory for twice as many, and all of one place or none.
type lowest[T any] struct {
	most  int
	place func(T) uint64
	kept  []T
	next  uint64 // what is kept lies below it, if full
	full  bool   // something was left out
	limit int    // of kept, when it is cut again
}

// takes says whether there is any use in adding what has this place.
func (l *lowest[T]) takes(place uint64) bool { return !l.full || place < l.next }

func (l *lowest[T]) add(v T) {
	if l.kept = append(l.kept, v); len(l.kept) >= max(l.limit, 2*l.most) {
		l.cut()
		l.limit = 2 * len(l.kept)
	}
}

// cut sorts what is kept and drops what is too much.
func (l *lowest[T]) cut() {
	slices.SortFunc(l.kept, func(a, b T) int { return cmp.Compare(l.place(a), l.place(b)) })
	if len(l.kept) <= l.most {
		return
	}
	n := l.most
	for n < len(l.kept) && l.place(l.kept[n]) == l.place(l.kept[n-1]) {
		n++
	}
	if n < len(l.kept) {
		l.next, l.full = l.place(l.kept[n]), true
		clear(l.kept[n:])
		l.kept = l.kept[:n]
	}
}
