package importer

import (
	"context"
	"maps"
	"slices"
)

// Tally is what became of the keys so far.
type Tally struct {
	Moved   int64 // to Holdfast
	Present int64 // at Holdfast already, and left as they are
	Deleted int64 // at Holdfast, and not brought back
	Gone    int64 // from Redis, by their end or by a client, since they were found
	Failed  int64

	Failures []Failure        // the first of those that failed, mostListed at most
	Reasons  map[string]int64 // how many failed for what, mostListed reasons at most, and "other reasons"
}

// Failure is a key that could not be moved.
type Failure struct {
	Key    string
	Type   string // as Redis calls it, or "unknown type"
	Reason string
}

// mostListed bounds what is remembered of keys that failed.
const mostListed = 100

const otherReasons = "other reasons"

func newTally() Tally { return Tally{Reasons: make(map[string]int64)} }

// Done is how many keys have come to an end.
func (t *Tally) Done() int64 { return t.Moved + t.Present + t.Deleted + t.Gone + t.Failed }

// Tally returns what became of the keys so far.
func (m *Importer) Tally() Tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tally
	t.Failures, t.Reasons = slices.Clone(t.Failures), maps.Clone(t.Reasons)
	return t
}

func (m *Importer) count(add func(t *Tally)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	add(&m.tally)
}

// fail counts a key that cannot be moved. The type is asked for where it will be
// listed, so that very many such keys cost no question each.
func (m *Importer) fail(ctx context.Context, key string, err error) {
	f := Failure{Key: key, Reason: err.Error()}
	listed := false
	m.count(func(t *Tally) {
		t.Failed++
		if _, known := t.Reasons[f.Reason]; !known && len(t.Reasons) >= mostListed {
			f.Reason = otherReasons
		}
		t.Reasons[f.Reason]++
		listed = len(t.Failures) < mostListed
	})
	if !listed {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Timeout)
	defer cancel()
	if f.Type = m.from.Type(ctx, key).Val(); f.Type == "" || f.Type == "none" {
		f.Type = "unknown type"
	}
	f.Reason = err.Error()
	m.count(func(t *Tally) {
		if len(t.Failures) < mostListed {
			t.Failures = append(t.Failures, f)
		}
	})
}
