package session

import (
	"slices"
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

// FirstPage is the NewKey of a List that asks for the first page. It comes
// before every key that has a {tag}.
const FirstPage = "\x00"

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
	all, _, err := p.everything()
	if err != nil {
		return nil, err
	}
	var first []*Record // those that come first, and some more
	order := func() {
		slices.SortFunc(first, func(a, b *Record) int { return strings.Compare(a.key, b.key) })
		first = first[:min(records, len(first))]
	}
	last := "" // none that comes after it is in the page
	for _, h := range all {
		key := h.rec.key
		if key <= after || last != "" && key > last || h.presence(now) != live || !keep(key) {
			continue
		}
		if first = append(first, h.rec); len(first) == 2*records {
			order()
			last = first[records-1].key
		}
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
