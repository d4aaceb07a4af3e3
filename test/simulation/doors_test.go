package simulation

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/session"
)

// TestDoors: what is asked through each door is done, and told as it is told by
// the Go API, but for what the door has no words for.
func TestDoors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3, Routers: 1, Redis: true, Copies: 2})
		c.StartAll(3)
		require.NoError(t, c.AwaitSettled(agreeWithin))
		for i, by := range []string{byAPI, byHTTP, byRouter, byRedis} {
			w := &worker{load: &Load{cluster: c}, id: i, by: by, client: c.newClient(by, i)}
			w.door = c.doors(by)[0]
			w.meets(t, "{u-"+by+"}:")
			w.client.close()
		}
		require.Empty(t, c.history.Broken())
	})
}

// meets asks for one thing after another.
func (w *worker) meets(t *testing.T, tag string) {
	key, lock, swap := tag+"1", locks+w.by, swaps+w.by
	redis := w.by == byRedis
	ask := func(want Outcome, key string, op session.Op, value int) (Call, answer) {
		t.Helper()
		op.Key = key
		c, told := w.ask(key, &op, session.AckReplica, value)
		require.Equal(t, want, c.Outcome, "%s: %s", w.by, c)
		require.Equal(t, redis, c.ReachUnsaid, "%s: %s", w.by, c)
		return c, told
	}
	gone := Deleted
	if redis {
		gone = Missing
	}
	get, put := session.Op{Kind: session.Get}, session.Op{Kind: session.Put, Fields: fields(2)}
	create := session.Op{Kind: session.Put, Fields: fields(1), Create: true, TTL: time.Minute}

	c, _ := ask(OK, key, create, 1)
	require.Equal(t, 1, c.Acked)
	require.False(t, c.Unconfirmed)
	taken, told := w.ask(key, withKey(create, key), session.AckReplica, 1)
	require.Equal(t, Refused, taken.Outcome, "%s", taken)
	require.True(t, told.answered)
	ask(OK, key, put, 2)
	ask(OK, key, session.Op{Kind: session.Patch, Fields: []session.Field{{Name: padField, Value: "aaa"}}}, 0)
	ask(OK, key, session.Op{Kind: session.Touch, TTL: time.Minute}, 0)
	c, told = ask(OK, key, get, 0)
	require.Equal(t, 2, c.Got)
	require.Equal(t, "aaa", told.values[padField])
	if !redis {
		_, told = w.ask(tag, &session.Op{Kind: session.List, Key: tag}, session.AckDefault, 0)
		require.Equal(t, []string{key}, told.keys)
		require.NotEmpty(t, c.Served)
	}

	_, told = ask(OK, key, session.Op{Kind: session.Rotate, NewKey: tag + "2"}, 0)
	next := told.moved
	require.True(t, strings.HasPrefix(next, tag) && next != key, next)
	ask(gone, key, get, 0)
	c, _ = ask(OK, next, get, 0)
	require.Equal(t, 2, c.Got)
	c, _ = ask(OK, next, session.Op{Kind: session.Delete}, 0)
	require.False(t, c.Unconfirmed || c.Nothing)
	require.Equal(t, w.by == byHTTP || w.by == byRouter, c.FindUnsaid)
	ask(gone, next, get, 0)
	ask(Deleted, next, put, 2) // a late save
	ask(OK, next, create, 1)
	ask(Missing, tag+"never", get, 0)

	held := session.Op{Kind: session.Put, Fields: fields(7), Create: true, TTL: lockTTL}
	_, told = ask(OK, lock, held, 7)
	ask(Refused, lock, held, 8)
	mine, wrong := told.version, told.version+1
	if redis { // which goes by the value
		mine, wrong = 1, 1
	}
	ask(Refused, lock, session.Op{Kind: session.Delete, IfVersion: wrong}, 8)
	ask(OK, lock, session.Op{Kind: session.Delete, IfVersion: mine}, 7)

	ask(Missing, swap, get, 0)
	ask(OK, swap, session.Op{Kind: session.Put, Fields: fields(1), Create: true}, 1)
	_, seen := ask(OK, swap, get, 0)
	other := apiClient{}.call(w.door, withKey(put, swap), session.AckReplica, 2)
	require.Equal(t, OK, other.Outcome)
	ask(Refused, swap, session.Op{Kind: session.Put, Fields: fields(3), IfVersion: seen.version}, 3)
	c, seen = ask(OK, swap, get, 0)
	require.Equal(t, 2, c.Got)
	ask(OK, swap, session.Op{Kind: session.Put, Fields: fields(4), IfVersion: seen.version}, 4)
	c, _ = ask(OK, swap, get, 0)
	require.Equal(t, 4, c.Got)
}

func withKey(op session.Op, key string) *session.Op { op.Key = key; return &op }

// TestToldByHTTP: what an answer of the session API means to its client.
func TestToldByHTTP(t *testing.T) {
	t.Parallel()
	problem := func(slug, detail string) string {
		return `{"type":"https://holdfast.dev/problems/` + slug + `","detail":"` + detail + `"}`
	}
	for name, c := range map[string]struct {
		kind     session.Kind
		status   int
		body     string
		header   map[string]string
		is       Outcome
		answered bool
		unsure   bool // Unconfirmed
	}{
		"read":                   {session.Get, 200, `{"n":1}`, nil, OK, true, false},
		"logged out":             {session.Delete, 204, "", nil, OK, true, false},
		"not by its copies":      {session.Delete, 202, "", map[string]string{"Holdfast-Unconfirmed": "1"}, OK, true, true},
		"made by itself":         {session.Put, 201, "", map[string]string{"Holdfast-Degraded": "1"}, OK, true, true},
		"none":                   {session.Get, 404, problem("not-found", ""), nil, Missing, true, false},
		"deleted":                {session.Get, 410, problem("deleted", ""), nil, Deleted, true, false},
		"rotated":                {session.Get, 410, problem("rotated", ""), nil, Deleted, true, false},
		"a condition":            {session.Put, 412, problem("precondition-failed", ""), nil, Refused, true, false},
		"full":                   {session.Put, 507, problem("full", ""), nil, Refused, true, false},
		"written by others":      {session.Put, 503, problem("busy", ""), nil, Refused, true, false},
		"no owner":               {session.Put, 503, problem("unavailable", ""), nil, Refused, false, false},
		"not agreed":             {session.Put, 508, problem("hop-limit", ""), nil, Refused, false, false},
		"no answer":              {session.Put, 504, problem("outcome-unknown", ""), nil, Unknown, false, false},
		"a router, nothing sent": {session.Put, 502, problem("member-unreachable", "the request was not carried out; try again in a moment"), nil, Refused, false, false},
		"a router, sent":         {session.Put, 502, problem("connection-broken", "the request may have been carried out"), nil, Unknown, false, false},
	} {
		h := http.Header{}
		for name, value := range c.header {
			h.Set(name, value)
		}
		a, known := toldByHTTP(c.kind, c.status, h, []byte(c.body))
		require.True(t, known, name)
		require.Equal(t, c.is, a.Outcome, name)
		require.Equal(t, c.answered, a.answered, name)
		require.Equal(t, c.unsure, a.Unconfirmed, name)
	}
	for status, body := range map[int]string{
		400: problem("bad-key", ""), 403: problem("host", ""), 404: problem("unknown-path", ""), 500: problem("internal", ""), 503: "no JSON", 302: "",
	} {
		_, known := toldByHTTP(session.Get, status, http.Header{}, []byte(body))
		require.False(t, known, status)
	}
}

// TestToldByRedis: what an answer to a command means to its client.
func TestToldByRedis(t *testing.T) {
	t.Parallel()
	number := func(n int64) resp.Value { return resp.Value{Kind: resp.Int, Int: n} }
	failed := func(text string) resp.Value { return resp.Value{Kind: resp.Error, Text: text} }
	ok := resp.Value{Kind: resp.Simple, Text: "OK"}
	hset, del := session.Op{Kind: session.Put}, session.Op{Kind: session.Delete}
	for name, c := range map[string]struct {
		op       session.Op
		said     resp.Value
		is       Outcome
		answered bool
	}{
		"a new hash":     {hset, number(1), OK, true},
		"no new field":   {hset, number(0), OK, true},
		"HSETNX":         {session.Op{Kind: session.Put, Create: true}, number(0), Refused, true},
		"a lock, taken":  {session.Op{Kind: session.Put, Key: locks, Create: true}, resp.Value{Kind: resp.NullBulk}, Refused, true},
		"a lock":         {session.Op{Kind: session.Put, Key: locks, Create: true}, ok, OK, true},
		"EXEC, changed":  {session.Op{Kind: session.Put, IfVersion: 1}, resp.Value{Kind: resp.NullArray}, Refused, true},
		"EXEC, failed":   {session.Op{Kind: session.Put, IfVersion: 1}, resp.Value{Kind: resp.Array, Elems: []resp.Value{failed("OOM command")}}, Refused, true},
		"EXPIRE":         {session.Op{Kind: session.Touch}, number(0), Missing, true},
		"HGETALL":        {session.Op{Kind: session.Get}, resp.Value{Kind: resp.Array}, Missing, true},
		"DEL":            {del, number(1), OK, true},
		"DEL of nothing": {del, number(0), OK, true},
		"no owner":       {hset, failed("TRYAGAIN the owner of the key cannot be reached yet: owner unavailable"), Refused, false},
		"no majority":    {hset, failed("CLUSTERDOWN The cluster is down: …"), Refused, false},
		"loading":        {hset, failed("LOADING The cluster is down: …"), Refused, false},
		"busy":           {hset, failed("TRYAGAIN session is being written by others"), Refused, true},
		"full":           {hset, failed("OOM command not allowed when used memory > 'maxmemory'."), Refused, true},
		"deleted":        {hset, failed("ERR key was deleted a moment ago: create it with NX, or set -resp-refuse-revive 0"), Deleted, true},
		"RENAME":         {session.Op{Kind: session.Rotate}, failed("ERR no such key"), Missing, true},
		"no answer":      {hset, failed("ERR no answer from the owner, the command may or may not have been executed: owner did not answer"), Unknown, false},
	} {
		a, known := toldByRedis(&c.op, []resp.Value{c.said})
		require.True(t, known, name)
		require.Equal(t, c.is, a.Outcome, name)
		require.Equal(t, c.answered, a.answered, name)
		require.Equal(t, name == "DEL of nothing", a.Nothing, name)
	}
	for _, text := range []string{"ERR syntax error", "CROSSSLOT Keys", "WRONGTYPE Operation", "EXECABORT Transaction", "NOAUTH"} {
		_, known := toldByRedis(&hset, []resp.Value{failed(text)})
		require.False(t, known, text)
	}
}
