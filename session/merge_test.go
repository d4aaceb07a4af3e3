package session

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// recordGen draws records of one session. Stamps and values come from small
// sets, so that ties, which are where merges go wrong, are common.
func recordGen() *rapid.Generator[*Record] {
	return rapid.Custom(func(t *rapid.T) *Record {
		small := rapid.Uint64Range(0, 4)
		rank := Stamp(rapid.Uint64Range(1, 3).Draw(t, "rank"))
		if rapid.IntRange(0, 4).Draw(t, "dead") == 0 {
			rec := newTombstone("k", rank, int64(rapid.IntRange(1, 3).Draw(t, "at")))
			return rec.ledTo(rapid.SampledFrom([]string{"", "", "k2", "k3"}).Draw(t, "to"))
		}
		base := rank + Stamp(small.Draw(t, "base"))
		var fields []Field
		for _, name := range []string{"", "\x00type", "a", "b", "c"} {
			if rapid.Bool().Draw(t, "has") {
				f := Field{Name: name, Stamp: base + Stamp(small.Draw(t, "stamp"))}
				if f.Absent = rapid.IntRange(0, 3).Draw(t, "absent") == 0; !f.Absent {
					f.Value = rapid.SampledFrom([]string{"", "x", "xy", "y"}).Draw(t, "value")
				}
				fields = append(fields, f)
			}
		}
		expiry := Expiry{
			At:    int64(rapid.IntRange(0, 3).Draw(t, "at")),
			Idle:  int64(rapid.IntRange(0, 2).Draw(t, "idle")),
			Stamp: rank + Stamp(small.Draw(t, "expiry stamp")),
		}
		if expiry.At > 0 && rapid.Bool().Draw(t, "has deadline") {
			expiry.Deadline = expiry.At + int64(rapid.IntRange(0, 2).Draw(t, "deadline"))
		}
		return newSession("k", rank, base, expiry, fields)
	})
}

// same reports whether two records are equal in all that Merge sees.
func same(a, b *Record) bool { return string(a.AppendMoved(nil)) == string(b.AppendMoved(nil)) }

func requireSame(t require.TestingT, want, got *Record) {
	require.Truef(t, same(want, got), "want %s\ngot  %s", show(want), show(got))
}

func show(r *Record) string {
	if r == nil {
		return "nothing"
	}
	s := fmt.Sprintf("rank %d base %d dead %v expiry %+v", r.rank, r.base, r.dead, r.expiry)
	for f := range r.All() {
		s += fmt.Sprintf(" %+v", f)
	}
	return s
}

func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := recordGen().Draw(t, "a"), recordGen().Draw(t, "b"), recordGen().Draw(t, "c")
		ab := Merge(a, b)
		requireSame(t, ab, Merge(b, a))
		requireSame(t, Merge(ab, c), Merge(a, Merge(b, c)))
		require.Same(t, a, Merge(a, a), "idempotent")
		require.Same(t, ab, Merge(ab, a), "nothing new")
		require.Same(t, ab, Merge(ab, b), "nothing new")

		twin, _, err := DecodeRecord(b.AppendMoved(nil))
		require.NoError(t, err)
		require.Same(t, ab, Merge(ab, twin), "nothing new in an equal copy")
		if same(ab, a) {
			require.Same(t, a, ab, "b adds nothing")
		}
	})
}

func TestMergeWithNothing(t *testing.T) {
	rec := newTombstone("k", 1, 1)
	require.Nil(t, Merge(nil, nil))
	require.Same(t, rec, Merge(nil, rec))
	require.Same(t, rec, Merge(rec, nil))
	require.Panics(t, func() { Merge(rec, newTombstone("other", 1, 1)) })
}

// TestMergeAgainstSpecification compares Merge with the rules of the package
// comment, written down in the plainest way.
func TestMergeAgainstSpecification(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := recordGen().Draw(t, "a"), recordGen().Draw(t, "b")
		requireSame(t, specifiedMerge(a, b), Merge(a, b))
	})
}

func specifiedMerge(a, b *Record) *Record {
	order := func(r *Record) int { // of records with one rank
		if r.dead {
			return 1
		}
		return 0
	}
	if c := cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(order(a), order(b))); c > 0 {
		return a
	} else if c < 0 {
		return b
	}
	if a.dead {
		if c := cmp.Or(cmp.Compare(a.expiry.At, b.expiry.At), cmp.Compare(a.body, b.body)); c < 0 {
			return b
		}
		return a
	}
	base := max(a.base, b.base)
	latest := map[string]Field{}
	for _, r := range []*Record{a, b} {
		for f := range r.All() {
			if old, ok := latest[f.Name]; f.Stamp >= base && (!ok || f.compare(old) > 0) {
				latest[f.Name] = f
			}
		}
	}
	var fields []Field
	for _, f := range latest {
		fields = append(fields, f)
	}
	slices.SortFunc(fields, func(f, g Field) int { return cmp.Compare(f.Name, g.Name) })
	expiry := a.expiry
	if b.expiry.compare(expiry) > 0 {
		expiry = b.expiry
	}
	return newSession("k", a.rank, base, expiry, fields)
}

// TestMergeBuildsNoRecordForNothing: merging copies that agree is what an idle
// cluster does all day.
func TestMergeBuildsNoRecordForNothing(t *testing.T) {
	fields := []Field{{Name: "a", Value: "1", Stamp: 7}, {Name: "b", Stamp: 8, Absent: true}}
	a := newSession("k", 5, 6, Expiry{At: 9, Stamp: 8}, fields)
	b := newSession("k", 5, 6, Expiry{At: 9, Stamp: 8}, fields)
	require.Zero(t, testing.AllocsPerRun(100, func() { Merge(a, b) }))
}
