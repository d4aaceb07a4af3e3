package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// modelKey is what a plain map holds of one key.
type modelKey struct {
	kind  kind
	text  string
	items map[string]string
	end   int64 // unix ms, 0 none
}

// model is Redis as a plain map, for the commands that the tests draw.
type model struct {
	keys  map[string]*modelKey
	clock *clock
}

func (m *model) get(key string) *modelKey {
	k := m.keys[key]
	if k != nil && k.end != 0 && k.end <= m.clock.t.UnixMilli() {
		delete(m.keys, key)
		return nil
	}
	return k
}

// items returns the fields or members of a key, which it makes if make is true;
// nil, false if the key is of another kind.
func (m *model) items(key string, want kind, make bool) (map[string]string, bool) {
	k := m.get(key)
	switch {
	case k == nil && !make:
		return nil, true
	case k == nil:
		k = &modelKey{kind: want, items: map[string]string{}}
		m.keys[key] = k
	case k.kind != want:
		return nil, false
	}
	return k.items, true
}

func bulk(s string) string { return fmt.Sprintf("$%d %s", len(s), s) }

const wrongType = "-WRONGTYPE Operation against a key holding the wrong kind of value"

// run runs a command line and returns what Redis would answer.
func (m *model) run(line string) string {
	args := strings.Fields(line)
	key := args[1]
	switch args[0] {
	case "SET":
		m.keys[key] = &modelKey{kind: aString, text: args[2]}
		if len(args) == 5 {
			// EX 1, 11 or 111: see lines.
			m.keys[key].end = m.clock.t.UnixMilli() + int64(len(args[4]))*1000
		}
		return "+OK"
	case "GET":
		switch k := m.get(key); {
		case k == nil:
			return "$-1"
		case k.kind != aString:
			return wrongType
		default:
			return bulk(k.text)
		}
	case "DEL":
		had := m.get(key) != nil
		delete(m.keys, key)
		return map[bool]string{true: ":1", false: ":0"}[had]
	case "PERSIST":
		k := m.get(key)
		if k == nil || k.end == 0 {
			return ":0"
		}
		k.end = 0
		return ":1"
	case "PTTL":
		switch k := m.get(key); {
		case k == nil:
			return ":-2"
		case k.end == 0:
			return ":-1"
		default:
			return fmt.Sprint(":", k.end-m.clock.t.UnixMilli())
		}
	case "RENAME":
		k := m.get(key)
		if k == nil {
			return "-ERR no such key"
		}
		delete(m.keys, key)
		m.keys[args[2]] = k
		return "+OK"
	case "HSET", "SADD":
		return m.add(args)
	case "HDEL", "SREM":
		return m.drop(args)
	case "HGETALL":
		items, ok := m.items(key, aHash, false)
		if !ok {
			return wrongType
		}
		list := []string{fmt.Sprint("*", 2*len(items))}
		for _, name := range slices.Sorted(maps.Keys(items)) {
			list = append(list, bulk(name), bulk(items[name]))
		}
		return strings.Join(list, " ")
	case "SCARD":
		items, ok := m.items(key, aSet, false)
		if !ok {
			return wrongType
		}
		return fmt.Sprint(":", len(items))
	}
	panic(line)
}

func (m *model) add(args []string) string {
	want := map[string]kind{"HSET": aHash, "SADD": aSet}[args[0]]
	items, ok := m.items(args[1], want, true)
	if !ok {
		return wrongType
	}
	before := len(items)
	items[args[2]] = strings.Join(args[3:], "")
	return fmt.Sprint(":", len(items)-before)
}

func (m *model) drop(args []string) string {
	want := map[string]kind{"HDEL": aHash, "SREM": aSet}[args[0]]
	items, ok := m.items(args[1], want, false)
	if !ok {
		return wrongType
	}
	if _, had := items[args[2]]; !had {
		return ":0"
	}
	delete(items, args[2])
	if len(items) == 0 {
		delete(m.keys, args[1])
	}
	return ":1"
}

// lines draws commands on few keys of one partition.
var lines = rapid.Custom(func(t *rapid.T) string {
	word := func(label string, words ...string) string { return rapid.SampledFrom(words).Draw(t, label) }
	key, other := word("key", "{a}1", "{a}2", "{a}3"), word("other", "{a}1", "{a}2", "{a}3")
	item, value := word("item", "x", "y", "z"), word("value", "1", "22")
	return word("command", "SET "+key+" "+value, "SET "+key+" "+value+" EX "+word("seconds", "1", "2"), "GET "+key, "DEL "+key, "PERSIST "+key,
		"PTTL "+key, "RENAME "+key+" "+other, "HSET "+key+" "+item+" "+value, "HDEL "+key+" "+item, "HGETALL "+key, "SADD "+key+" "+item, "SREM "+key+" "+item, "SCARD "+key)
})

// TestAgainstModel runs random commands on a store and on a plain map.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRedis(t)
		m := &model{keys: map[string]*modelKey{}, clock: r.clock}
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			line := strings.Replace(lines.Draw(t, "line"), " EX 2", " EX 1", 1)
			require.Equal(t, m.run(line), r.do(line), line)
			if rapid.IntRange(0, 4).Draw(t, "pass") == 0 {
				r.clock.advance(300 * time.Millisecond)
			}
		}
	})
}

// TestSidesOfACutConverge runs random commands on two sides that hear nothing
// of each other, and brings them together in any order: both answer the same.
func TestSidesOfACutConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := newRedis(t), newRedis(t)
		p := ring.Partition("{a}")
		bring := func(from, to *redis) {
			for _, rec := range from.store.Records(p) {
				if _, err := to.store.Merge(rec); !errors.Is(err, session.ErrPast) {
					require.NoError(t, err)
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			side := rapid.SampledFrom([]*redis{a, b}).Draw(t, "side")
			switch rapid.IntRange(0, 8).Draw(t, "step") {
			case 0:
				bring(a, b)
			case 1:
				bring(b, a)
			case 2:
				a.clock.advance(time.Second / 3)
				b.clock.t = a.clock.t
			default:
				side.do(lines.Draw(t, "line"))
			}
		}
		bring(a, b)
		bring(b, a)
		a.store.Expire() // what had ended was not brought
		b.store.Expire()
		require.Equal(t, a.store.Digest(p), b.store.Digest(p))
		for _, key := range []string{"{a}1", "{a}2", "{a}3"} {
			for _, line := range []string{"TYPE ", "GET ", "HGETALL ", "SMEMBERS ", "PTTL "} {
				require.Equal(t, a.do(line+key), b.do(line+key), line+key)
			}
		}
	})
}

// What was deleted on one side of a cut stays deleted, whatever the other side
// wrote to it; what was changed on both, field by field, has both changes.
func TestACutFieldByField(t *testing.T) {
	a, b := newRedis(t), newRedis(t)
	bring := func(from, to *redis, key string) {
		_, err := to.store.Merge(from.store.Peek(key))
		require.NoError(t, err)
	}
	a.do("HSET h one 1 two 2")
	a.do("SADD s x")
	a.do("SET gone v EX 10")
	for _, key := range []string{"h", "s", "gone"} {
		bring(a, b, key)
	}
	a.do("HSET h one 11")
	a.do("SADD s y")
	a.do("DEL gone")
	b.clock.advance(time.Second)
	b.do("HSET h two 22 three 3")
	b.do("SADD s z")
	b.do("SREM s x")
	b.do("SET gone again")
	b.do("EXPIRE gone 100000")
	for _, key := range []string{"h", "s", "gone"} {
		bring(a, b, key)
		bring(b, a, key)
	}
	a.clock.t = b.clock.t
	for _, r := range []*redis{a, b} {
		r.exchanges(t, `
			HGETALL h -> *6 $3 one $2 11 $5 three $1 3 $3 two $2 22
			SMEMBERS s -> *2 $1 y $1 z
			EXISTS gone -> :0
		`)
		r.clock.advance(20 * time.Hour)
		require.True(t, r.store.Peek("gone").Dead(), "the end that was moved elsewhere is outlived")
	}
}
