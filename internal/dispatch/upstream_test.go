package dispatch

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/rdb"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// shelf is an upstream that has what the test gives it, and lists what it was
// asked for and told.
type shelf struct {
	payloads map[string]string
	end      int64
	asked    []string
	ends     []string
	withheld int
	refuses  bool   // it holds nothing still
	held     int    // and not released
	before   func() // a put
	put      error  // what the last one said
}

func (s *shelf) TakeOver(_ context.Context, keys []string, put func(key, payload string, end int64) error) error {
	s.asked = append(s.asked, keys...)
	for _, key := range keys {
		if payload, ok := s.payloads[key]; ok {
			if s.before != nil {
				s.before()
			}
			if s.put = put(key, payload, s.end); errors.Is(s.put, session.ErrNotServed) {
				return s.put
			}
		}
	}
	return nil
}

func (s *shelf) Hold(string) bool {
	if s.refuses {
		return false
	}
	s.held++
	return true
}

func (s *shelf) Release()          { s.held-- }
func (s *shelf) Withheld(keys int) { s.withheld += keys }
func (s *shelf) Ended(key string)  { s.ends = append(s.ends, key) }

func text(s string) string {
	v := rdb.Value{Text: s}
	return string(v.Append(nil))
}

func hash(pairs ...string) string {
	v := rdb.Value{Kind: rdb.Hash}
	for pair := range slices.Chunk(pairs, 2) {
		v.Entries = append(v.Entries, rdb.Entry{Name: pair[0], Value: pair[1]})
	}
	return string(v.Append(nil))
}

// down is a node that is missing and may be alive.
func down(name string) *member.Member {
	m := membertest.Up(name, 1)
	m.Up = false
	return m
}

// withUpstream is a member that owns everything, and may take over what the
// shelf has.
func withUpstream(t *testing.T, s *shelf) *still {
	return serving(t, func(c *Config) { c.Upstream = s })
}

// Every command sees what was there, and what writes over it need not ask.
func TestWhatIsNeededIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ command, answer, asked string }{
			{"GET k", "$3\r\nold", "k"},
			{"HGET h f", "$1\r\n1", "h"},
			{"HSET h g 9", ":0", "h"},
			{"HSET h new 9", ":1", "h"},
			{"HGETALL h", "*4\r\n$1\r\nf\r\n$1\r\n1\r\n$1\r\ng\r\n$1\r\n2", "h"},
			{"EXISTS k", ":1", "k"},
			{"TYPE h", "+hash", "h"},
			{"EXPIRE k 10", ":1", "k"},
			{"PERSIST k", ":1", "k"},
			{"APPEND k er", ":5", "k"},
			{"INCR k", "-ERR value is not an integer or out of range", "k"},
			{"SET k new NX", "$-1", "k"},
			{"SET k new XX", "+OK", "k"},
			{"SET k new GET", "$3\r\nold", "k"},
			{"SET k new KEEPTTL", "+OK", "k"},
			{"SETNX k new", ":0", "k"},
			{"GETDEL k", "$3\r\nold", "k"},
			{"HGET k f", "-WRONGTYPE Operation against a key holding the wrong kind of value", "k"},
			{"RESTORE k 0 x", "-BUSYKEY Target key name already exists.", "k"},
			{"GET none", "$-1", "none"},

			{"SET k new", "+OK", ""},
			{"SET k new EX 10", "+OK", ""},
			{"SETEX k 10 new", "+OK", ""},
			{"MSET k new", "+OK", ""},
			{"DEL k", ":0", ""},
			{"UNLINK k", ":0", ""},
			{"RESTORE k 0 x REPLACE", "-ERR DUMP payload version or checksum are wrong", ""},
			{"RESTORE k 0 x NOREVIVE", "-ERR DUMP payload version or checksum are wrong", ""},
		} {
			s := &shelf{payloads: map[string]string{"k": text("old"), "h": hash("f", "1", "g", "2")}, end: time.Now().Add(time.Hour).UnixMilli()}
			n := withUpstream(t, s)
			answer, err := n.commandIn(t.Context(), c.command)
			require.NoError(t, err, c.command)
			require.Equal(t, c.answer, answer, c.command)
			require.Equal(t, c.asked, strings.Join(s.asked, " "), c.command)
			require.Zero(t, s.held)
			require.NoError(t, s.put)
			_, err = n.commandIn(t.Context(), c.command)
			require.NoError(t, err)
			if c.asked != "none" {
				require.Equal(t, c.asked, strings.Join(s.asked, " "), "%s: it is here now, or has ended", c.command)
			}
		}
	})
}

// The operations of HTTP and of Go programs.
func TestOperationsTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fields := []session.Field{{Name: "f", Value: "9"}}
		for name, c := range map[string]struct {
			op    session.Op
			asked bool
			err   error
		}{
			"get":            {session.Op{Kind: session.Get}, true, nil},
			"patch":          {session.Op{Kind: session.Patch, Fields: fields}, true, nil},
			"touch":          {session.Op{Kind: session.Touch}, true, nil},
			"rotate":         {session.Op{Kind: session.Rotate, NewKey: "{h}2"}, true, nil},
			"create":         {session.Op{Kind: session.Put, Fields: fields, Create: true}, true, session.ErrPrecondition},
			"put, if exists": {session.Op{Kind: session.Put, Fields: fields, Exists: true}, true, nil},
			"put":            {session.Op{Kind: session.Put, Fields: fields}, false, nil},
			"delete":         {session.Op{Kind: session.Delete}, false, nil},
			"list":           {session.Op{Kind: session.List}, false, nil},
			"delete all":     {session.Op{Kind: session.DeleteAll}, false, nil},
			"scan":           {session.Op{Kind: session.Scan}, false, nil},
		} {
			s := &shelf{payloads: map[string]string{"{h}": hash("f", "1", "g", "2")}}
			n := withUpstream(t, s)
			c.op.Key = "{h}"
			_, err := n.serve(t.Context(), ring.Partition("{h}"), opWork{&c.op}, session.AckAsync)
			require.ErrorIs(t, err, c.err, name)
			require.Equal(t, c.asked, len(s.asked) == 1, name)
			if name == "patch" {
				rec, err := n.Get(t.Context(), "{h}")
				require.NoError(t, err)
				g, _ := rec.Value("g")
				require.Equal(t, "\x002", g, "the fields merge")
				require.Zero(t, rec.Expiry().At, "it had no end")
			}
		}
		s := &shelf{payloads: map[string]string{"k": text("old")}, end: time.Now().Add(time.Hour).UnixMilli()}
		n := withUpstream(t, s)
		rec, err := n.Get(t.Context(), "k")
		require.NoError(t, err, "the short way too")
		require.Equal(t, s.end, rec.Expiry().At)
		_, err = n.Get(t.Context(), "none")
		require.ErrorIs(t, err, session.ErrNotFound)
		require.Equal(t, []string{"k", "none"}, s.asked)
		_, err = n.Do(t.Context(), &session.Op{Kind: session.Get, Key: strings.Repeat("k", session.MaxKey+1)}, session.AckDefault, attempt.Attempt{})
		require.Error(t, err)
		require.Len(t, s.asked, 2, "no such key can be here")
	})
}

// A session of which something is known here is not asked for: neither one that
// was deleted, nor one that has ended and is not forgotten.
func TestWhatIsKnownIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{payloads: map[string]string{"k": text("old"), "ended": text("old")}}
		n := withUpstream(t, s)
		for _, line := range []string{"SET k new", "DEL k", "SET ended new PX 5"} {
			_, err := n.commandIn(t.Context(), line)
			require.NoError(t, err)
		}
		time.Sleep(10 * time.Millisecond)
		for _, line := range []string{"GET k", "GET ended"} {
			answer, err := n.commandIn(t.Context(), line)
			require.NoError(t, err)
			require.Equal(t, "$-1", answer)
		}
		require.Empty(t, s.asked)
	})
}

// The take-over loses to all that happens here while it is on its way.
func TestATakeOverLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			meanwhile func(n *still, s *shelf)
			answer    string
		}{
			"to nothing":  {func(*still, *shelf) {}, "$3\r\nold"},
			"to a write":  {func(n *still, _ *shelf) { _, _ = n.commandIn(t.Context(), "SET k new") }, "$3\r\nnew"},
			"to a delete": {func(n *still, _ *shelf) { _, _ = n.commandIn(t.Context(), "DEL k") }, "$-1"},
			"to an end": {func(n *still, _ *shelf) {
				_, _ = n.commandIn(t.Context(), "SET k new PX 5")
				time.Sleep(10 * time.Millisecond)
			}, "$-1"},
			"to a forgotten end":     {func(_ *still, s *shelf) { s.refuses = true }, "$-1"},
			"to a new claim":         {func(n *still, _ *shelf) { n.serving(ring.Partition("k"), 2) }, "again"},
			"to a node out of reach": {func(n *still, _ *shelf) { n.see(t, down("b")) }, "again"},
		} {
			s := &shelf{payloads: map[string]string{"k": text("old")}}
			n := withUpstream(t, s)
			s.before = func() { s.before = nil; c.meanwhile(n, s) }
			answer, err := n.commandIn(t.Context(), "GET k")
			if c.answer == "again" {
				require.ErrorIs(t, err, session.ErrNotServed, name)
				require.Nil(t, n.cfg.Store.Peek("k"), name)
				continue
			}
			require.NoError(t, err, name)
			require.Equal(t, c.answer, answer, name)
			require.Equal(t, name == "to nothing", s.put == nil, "%s: %v", name, s.put)
		}
	})
}

// Where a copy is out of reach that may know of an end, nothing is asked.
func TestNothingIsAskedWhileCopiesMayKnowMore(t *testing.T) {
	t.Parallel()
	p := ring.Partition("k")
	for name, unsure := range map[string]func(n *still){
		"a node is missing": func(n *still) { n.see(t, membertest.Up("c", 1), down("b")); n.leaseUntil(math.MaxInt64) },
		"one is remembered": func(n *still) { n.Dispatcher.cfg.Absent = func(time.Duration) bool { return true } },
		"unverified": func(n *still) {
			n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) {
				core.Set(p, ownership.Warm, ownership.Claim{Epoch: 1, By: n.cfg.Self}, true)
			})
		},
		"no lease": func(n *still) { n.leaseUntil(0) },
	} {
		s := &shelf{payloads: map[string]string{"k": text("old")}}
		n := withUpstream(t, s)
		unsure(n)
		_, _ = n.serve(t.Context(), p, line("GET k"), session.AckDefault)
		require.Empty(t, s.asked, name)
		require.Equal(t, 1, s.withheld, name)
		require.Nil(t, n.cfg.Store.Peek("k"), name)
	}
	s := &shelf{payloads: map[string]string{"k": text("old")}}
	n := withUpstream(t, s)
	_, _ = n.serveDegraded(t.Context(), p, line("GET k"))
	require.Empty(t, s.asked, "it reaches nobody")
}

// Every end is told, whatever made it, and nothing else is.
func TestEndsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for commands, want := range map[string][]string{
			"DEL k":                      {"k"},
			"SET k v,DEL k":              {"k"},
			"DEL k,DEL k":                {"k", "k"},
			"SET {k} v,RENAME {k} {k}2":  {"{k}"},
			"SET k v,EXPIRE k 0":         {"k"},
			"SET k v,GETDEL k":           {"k"},
			"HSET k f 1,HDEL k f":        {"k"},
			"HSET k f 1 g 1,HDEL k f":    nil,
			"SET k v,SET k w,EXPIRE k 9": nil,
			"GET k":                      nil,
		} {
			s := &shelf{}
			n := withUpstream(t, s)
			for _, command := range strings.Split(commands, ",") {
				_, err := n.commandIn(t.Context(), command)
				require.NoError(t, err)
			}
			require.Equal(t, want, s.ends, commands)
		}
		s := &shelf{}
		n := withUpstream(t, s)
		for _, op := range []*session.Op{
			{Kind: session.Put, Key: "{a}1"}, {Kind: session.Put, Key: "{a}2"}, {Kind: session.Put, Key: "{b}"}, {Kind: session.Delete, Key: "none"},
			{Kind: session.Rotate, Key: "{b}", NewKey: "{b}2"}, {Kind: session.DeleteAll, Key: "{a}"},
		} {
			_, err := n.serve(t.Context(), ring.Partition(op.Key), opWork{op}, session.AckAsync)
			require.NoError(t, err, op.Kind)
		}
		require.Equal(t, []string{"none", "{b}", "{a}1", "{a}2"}, s.ends)
		_, err := n.serveDegraded(t.Context(), ring.Partition("{b}2"), line("DEL {b}2"))
		require.NoError(t, err)
		require.Equal(t, "{b}2", s.ends[len(s.ends)-1], "without any other node too")
	})
}

// A delete of what no member has leaves a tombstone, for the upstream may have
// it.
func TestADeleteOfTheUnknownIsRemembered(t *testing.T) {
	t.Parallel()
	for _, s := range []*shelf{nil, {}} {
		n := begin(t, "a", func(c *Config) {
			if s != nil {
				c.Upstream = s
			}
		})
		n.leaseUntil(math.MaxInt64)
		p := ring.Partition("none")
		n.serving(p, 1)
		_, err := n.serve(t.Context(), p, line("DEL none"), session.AckDefault)
		require.NoError(t, err)
		rec := n.cfg.Store.Peek("none")
		require.Equal(t, s != nil, rec != nil && rec.Dead())
	}
}

// A request that has to ask must not hold up what comes behind it on its link.
func TestALinkDoesNotWaitForTheUpstream(t *testing.T) {
	t.Parallel()
	n := withUpstream(t, &shelf{})
	require.True(t, n.waits(line("GET k"), session.AckDefault))
	require.False(t, n.waits(line("SET k v"), session.AckDefault))
	_, err := n.commandIn(t.Context(), "SET k v")
	require.NoError(t, err)
	require.False(t, n.waits(line("GET k"), session.AckDefault))
	require.False(t, serving(t).waits(line("GET none"), session.AckDefault), "nothing is asked")
}
