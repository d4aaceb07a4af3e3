package simulation

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/session"
)

// The families of LoadOptions.All, beside those of load.go:
//
//   - expiry-*: sessions of one worker with a short TTL, some of them touched.
//     None ends early, and none outlives its time.
//   - lock-*: taken by a create with a TTL and given back by a conditional
//     delete, by all. At most one holds one.
//   - swap-*: read and then written on the condition that nobody else has
//     written, by all. No update is lost.
//   - merge-*: each worker patches a field of its own, and each field is a
//     counter.
//   - {rotate-*}: the session of one worker, which gets a new key again and
//     again. The old one is logged out, and the new one is there.
//   - list-*: sessions of one worker and one tag, made, ended and listed.
const (
	expiries  = "expiry-"
	locks     = "lock-"
	swaps     = "swap-"
	merges    = "merge-"
	rotations = "{rotate-"
	lists     = "list-"
)

const (
	sharedKeys  = 3 // of locks, swaps and merges
	lockTTL     = 8 * time.Second
	mortalsKept = 4
	listedKept  = 5
)

// family is what a worker knows of its sessions of these families.
type family struct {
	mortals []mortal
	minted  int      // keys made
	chain   []string // the keys of a session that is rotated, the present one last
	listed  []string
}

type mortal struct {
	key string
	ttl time.Duration
}

// more makes a call, or a few, to a session of one of these families.
func (w *worker) more() {
	[]func(){w.expire, w.lock, w.swap, w.merge, w.rotate, w.list}[w.random.IntN(6)]()
}

func (w *worker) mint() int {
	w.minted++
	return w.minted
}

func (w *worker) shared(prefix string) string {
	return prefix + strconv.Itoa(w.random.IntN(sharedKeys))
}

func (w *worker) expire() {
	draw := w.random.IntN(10)
	if len(w.mortals) == 0 || draw < 1 {
		if len(w.mortals) == mortalsKept {
			w.mortals = w.mortals[1:]
		}
		m := mortal{fmt.Sprintf("%s%d-%d", expiries, w.id, w.mint()), 8*time.Second + time.Duration(w.random.Int64N(int64(8*time.Second)))}
		w.mortals = append(w.mortals, m)
		w.do(m.key, &session.Op{Kind: session.Put, Key: m.key, Fields: fields(1), Create: true, TTL: m.ttl}, session.AckReplica, 1)
		return
	}
	m := w.mortals[w.random.IntN(len(w.mortals))]
	op := &session.Op{Kind: session.Get, Key: m.key}
	if draw < 3 {
		op.Kind, op.TTL = session.Touch, m.ttl
	}
	w.do(m.key, op, session.AckReplica, 0)
}

func (w *worker) lock() {
	key := w.shared(locks)
	value := int(w.load.values.Add(1))
	c, told := w.ask(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(value), Create: true, TTL: lockTTL}, session.AckReplica, value)
	w.note(c)
	if c.Outcome != OK {
		return
	}
	time.Sleep(time.Duration(w.random.Int64N(int64(time.Second))))
	if w.random.IntN(4) > 0 { // or it expires
		w.do(key, &session.Op{Kind: session.Delete, Key: key, IfVersion: told.version}, session.AckReplica, value)
	}
}

func (w *worker) swap() {
	key := w.shared(swaps)
	c, told := w.ask(key, &session.Op{Kind: session.Get, Key: key}, session.AckReplica, 0)
	w.note(c)
	value := int(w.load.values.Add(1))
	switch {
	case c.Outcome == Missing:
		w.do(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(value), Create: true}, session.AckReplica, value)
	case c.Outcome == OK:
		next, _ := w.ask(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(value), IfVersion: told.version}, session.AckReplica, value)
		next.Match = c.Got
		w.note(next)
	}
}

func mergeField(worker int) string { return "f" + strconv.Itoa(worker) }

// merge patches this worker's field, or reads those of all.
func (w *worker) merge() {
	key := w.shared(merges)
	own := key + "/" + mergeField(w.id)
	if w.random.IntN(2) == 0 {
		w.written[own]++
		value := w.written[own]
		patch := []session.Field{{Name: mergeField(w.id), Value: strconv.Itoa(value)}}
		if c := w.do(own, &session.Op{Kind: session.Patch, Key: key, Fields: patch}, session.AckReplica, value); c.Outcome == Missing {
			w.do(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(1), Create: true}, session.AckReplica, 1)
		}
		return
	}
	c, told := w.ask(key, &session.Op{Kind: session.Get, Key: key}, session.AckReplica, 0)
	for i := range w.load.Workers {
		read := c
		read.Key = key + "/" + mergeField(i)
		read.Got, _ = strconv.Atoi(told.values[mergeField(i)])
		w.note(read)
	}
}

// wholeKey is the key of the session that a history's key is about.
func wholeKey(key string) string {
	key, _, _ = strings.Cut(key, "/")
	return key
}

func (w *worker) rotate() {
	if len(w.chain) == 0 {
		key := fmt.Sprintf("%s%d-%d}:0", rotations, w.id, w.mint())
		if c := w.do(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(1), Create: true}, session.AckReplica, 1); c.Outcome == OK {
			w.chain = []string{key}
		}
		return
	}
	last := len(w.chain) - 1
	key := w.chain[last]
	switch draw := w.random.IntN(10); {
	case draw < 3:
		next := fmt.Sprintf("%s:%d", key[:strings.Index(key, ":")], last+1) // unless the door makes the key
		c, told := w.ask(key, &session.Op{Kind: session.Rotate, Key: key, NewKey: next}, session.AckReplica, 0)
		w.note(c)
		switch c.Outcome {
		case OK:
			w.chain = append(w.chain, told.moved)
			made := c
			made.Key, made.Kind, made.Value = told.moved, session.Put, 1
			w.note(made)
		case Refused:
		default:
			w.chain = nil
		}
	case draw < 6 && last > 0:
		old := w.chain[w.random.IntN(last)]
		w.do(old, &session.Op{Kind: session.Get, Key: old}, session.AckDefault, 0)
	default:
		w.do(key, &session.Op{Kind: session.Get, Key: key}, session.AckDefault, 0)
	}
}

func (w *worker) list() {
	tag := fmt.Sprintf("%s%d", lists, w.id)
	switch draw := w.random.IntN(10); {
	case draw < 3 && len(w.listed) < listedKept:
		key := fmt.Sprintf("{%s}:%d", tag, w.mint())
		w.listed = append(w.listed, key)
		w.do(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(1), Create: true}, session.AckReplica, 1)
	case draw < 5 && len(w.listed) > 0:
		key := w.listed[0]
		w.listed = w.listed[1:]
		w.do(key, &session.Op{Kind: session.Delete, Key: key}, session.AckReplica, 0)
	case w.by == byRedis: // where KEYS looks at the keys of all
		if len(w.listed) > 0 {
			w.do(w.listed[0], &session.Op{Kind: session.Get, Key: w.listed[0]}, session.AckDefault, 0)
		}
	default:
		c, told := w.ask(tag, &session.Op{Kind: session.List, Key: fmt.Sprintf("{%s}:", tag)}, session.AckDefault, 0)
		c.Keys = told.keys
		w.note(c)
	}
}

// note writes a call down, if there was one.
func (w *worker) note(c Call) {
	if c.Door != "" {
		w.load.cluster.history.add(c)
	}
}

// padField holds bytes without a meaning, which are all alike.
const padField = "pad"

// padding makes a value larger: a little, and seldom as much as it may be.
func (w *worker) padding(kind session.Kind) []session.Field {
	if w.load.Large == 0 || kind != session.Put {
		return nil
	}
	size := w.random.IntN(100)
	if w.random.IntN(50) == 0 {
		size = w.random.IntN(w.load.Large)
	}
	return []session.Field{{Name: padField, Value: strings.Repeat(string(rune('a'+w.random.IntN(26))), size)}}
}
