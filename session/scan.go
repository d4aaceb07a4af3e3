package session

import (
	"slices"
	"strings"
)

// A page of a scan ends with the record that reaches one of these, so that an
// answer fits into a frame of the peer link and a request is not held up for
// long behind one.
const (
	scanRecords = 1000
	scanBytes   = 256 << 10
)

// scan reads one page of a partition: the live sessions whose keys come after
// op.NewKey, in order of key. An empty page is the end. Sessions that are
// created or deleted between two pages may be in the scan or not; every other
// one is in it once.
//
// Only the look at the keys is done under the lock. Records never change, so
// the sorting can follow it.
func (s *Store) scan(p *partition, op *Op, now int64) (res Result, err error) {
	all, _, err := p.everything()
	if err != nil {
		return res, err
	}
	var later []*Record
	for _, h := range all {
		if h.rec.key > op.NewKey && h.presence(now) == live {
			later = append(later, h.rec)
		}
	}
	slices.SortFunc(later, func(a, b *Record) int { return strings.Compare(a.key, b.key) })
	size := int64(0)
	for i, rec := range later {
		if i == scanRecords || size >= scanBytes {
			later = later[:i]
			break
		}
		size += rec.bytes()
	}
	res.Records = later
	return res, nil
}
