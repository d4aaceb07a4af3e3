package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// sessions are those of a cluster of which the fake is the only node.
type sessions struct{ f *fake }

func (s sessions) Page(_ context.Context, partition int, after string) ([]*session.Record, error) {
	if s.f.unavailable != nil {
		return nil, s.f.unavailable
	}
	for i := 0; ; i++ {
		if key := fmt.Sprint(i); ring.Partition(key) == partition {
			res, err := s.f.Store.Do(&session.Op{Kind: session.Scan, Key: key, NewKey: after})
			return res.Records, err
		}
	}
}

func (s sessions) Do(_ context.Context, op *session.Op, _ session.Ack) (session.Reply, error) {
	if s.f.unavailable != nil {
		return session.Reply{}, s.f.unavailable
	}
	if s.f.before != nil {
		s.f.before(op)
	}
	s.f.Open(ring.Partition(op.Key))
	res, err := s.f.Store.Do(op)
	return session.Reply{Result: res}, err
}

func TestDump(t *testing.T) {
	f := newFake(t)
	f.put(t, "alice")
	f.put(t, "{alice}2")
	e := New(f.config())
	path := fmt.Sprintf("/admin/dump?partition=%d", ring.Partition("alice"))
	w := ask(e, "GET", path)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, "application/jsonl", w.Header().Get("Content-Type"))
	require.Equal(t, fmt.Sprint(w.Body.Len()), w.Header().Get("Content-Length"))
	line := func(key string) string {
		return `{"key":"` + key + `","kind":"hash","fields":[{"name":"f","value":"1"}],"end":3601000,"idle":3600000}` + "\n"
	}
	require.Equal(t, line("alice")+line("{alice}2"), w.Body.String())
	require.Equal(t, line("{alice}2"), ask(e, "GET", path+"&after=alice").Body.String())
	w = ask(e, "GET", path+"&after=%7Balice%7D2")
	require.Equal(t, http.StatusOK, w.Code)
	require.Empty(t, w.Body.String())
}

func TestDumpRefusals(t *testing.T) {
	f := newFake(t)
	e := New(f.config())
	for _, p := range []string{"", "-1", "1024", "x"} {
		w := ask(e, "GET", "/admin/dump?partition="+p)
		require.Equal(t, http.StatusBadRequest, w.Code, p)
		require.Contains(t, w.Body.String(), "0 to 1023 are accepted")
	}
	for err, code := range map[error]int{session.ErrUnavailable: 503, session.ErrUncertain: 503, context.DeadlineExceeded: 503, session.ErrMalformed: 500} {
		f.unavailable = err
		w := ask(e, "GET", "/admin/dump?partition=7")
		require.Equal(t, code, w.Code)
		require.Contains(t, w.Body.String(), "partition 7: ")
	}
	require.Equal(t, http.StatusForbidden, ask(e, "GET", "/admin/dump?partition=7", "Sec-Fetch-Site", "cross-site").Code)
}

// load has the endpoint load lines.
func load(t *testing.T, e *Endpoint, query string, lines ...string) (a adminapi.Load) {
	t.Helper()
	r, w := httptest.NewRequest("POST", "/admin/load"+query, strings.NewReader(strings.Join(lines, "\n"))), httptest.NewRecorder()
	r.Host = "localhost:8081"
	e.Handler().ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	require.NotEmpty(t, a.Fingerprint)
	a.Fingerprint = ""
	return a
}

func loadLine(key, value string, rest string) string {
	return fmt.Sprintf(`{"key":%q,"kind":"hash","fields":[{"name":"f","value":%q}]%s}`, key, value, rest)
}

func (f *fake) value(key string) string {
	rec := f.Peek(key)
	if rec == nil {
		return "none"
	}
	value, _ := rec.Value("f")
	return value
}

func TestLoad(t *testing.T) {
	f := newFake(t)
	e := New(f.config())
	f.put(t, "there")
	f.put(t, "out")
	_, err := f.Do(&session.Op{Kind: session.Delete, Key: "out"})
	require.NoError(t, err)
	lines := []string{
		loadLine("new", "2", `,"end":5000`), loadLine("there", "2", ""), loadLine("out", "2", ""), loadLine("old", "2", `,"end":1000`), "{", loadLine(strings.Repeat("k", 513), "2", ""),
	}
	a := load(t, e, "", lines...)
	require.Len(t, a.Refused, 2)
	require.Equal(t, 5, a.Refused[0].Line)
	require.Contains(t, a.Refused[0].Error, "not a line of a dump")
	require.Equal(t, 6, a.Refused[1].Line)
	require.Contains(t, a.Refused[1].Error, "513 bytes")
	a.Refused = nil
	require.Equal(t, adminapi.Load{Loaded: 1, Present: 1, Ended: 1, LoggedOut: 1}, a)
	require.Equal(t, "2", f.value("new"))
	require.Equal(t, int64(5000), f.Peek("new").Expiry().At)
	require.Equal(t, "1", f.value("there"))
	require.True(t, f.Peek("out").Dead())
	require.Equal(t, "none", f.value("old"))

	a = load(t, e, "", lines[:4]...)
	require.Equal(t, adminapi.Load{Present: 2, Ended: 1, LoggedOut: 1, Refused: []adminapi.Refused{}}, a, "again")
	a = load(t, e, "?replace=1", lines[:4]...)
	require.Equal(t, adminapi.Load{Loaded: 2, Ended: 1, LoggedOut: 1, Refused: []adminapi.Refused{}}, a)
	require.Equal(t, "2", f.value("there"))
	require.Zero(t, f.Peek("there").Expiry().At, "the end of the dump")
	require.True(t, f.Peek("out").Dead())
	a = load(t, e, "?revive=1", lines[:4]...)
	require.Equal(t, adminapi.Load{Loaded: 1, Present: 2, Ended: 1, Refused: []adminapi.Refused{}}, a)
	require.Equal(t, "2", f.value("out"))
}

// A fixed end is that of the dump, however old the session is that it replaces.
func TestLoadOverAnOldSession(t *testing.T) {
	f := newFake(t)
	const today = 1 << 40 // ms: in the first weeks of 1970 no rank tells when a session began
	f.storeAt(t, today+1000)
	f.put(t, "a")
	c := f.config()
	c.Now = func() time.Time { return at(today + 4000) }
	a := load(t, New(c), "?replace=1", loadLine("a", "2", fmt.Sprintf(`,"end":%[1]d,"deadline":%[1]d`, today+9000)))
	require.Equal(t, 1, a.Loaded)
	require.Equal(t, int64(today+9000), f.Peek("a").Expiry().Deadline)
}

// So it is where nobody knew, when it was made, whether the session was elsewhere.
func TestLoadOverABlindSession(t *testing.T) {
	f := newFake(t)
	const today = 1 << 40
	f.storeAt(t, today+1000)
	f.Open(ring.Partition("a"))
	_, err := f.Do(&session.Op{Kind: session.Put, Key: "a", Blind: true})
	require.NoError(t, err)
	c := f.config()
	c.Now = func() time.Time { return at(today + 4000) }
	a := load(t, New(c), "?replace=1", loadLine("a", "2", fmt.Sprintf(`,"end":%[1]d,"deadline":%[1]d`, today+9000)))
	require.Equal(t, 1, a.Loaded)
	require.Equal(t, int64(today+9000), f.Peek("a").Expiry().Deadline)
}

// What happens to a session between the look and the write is not undone.
func TestLoadAndAWriteBetween(t *testing.T) {
	for name, c := range map[string]struct {
		query string
		meet  session.Op
		want  adminapi.Load
		value string
	}{
		"created":                {meet: session.Op{Kind: session.Put}, want: adminapi.Load{Present: 1}, value: "3"},
		"created, to be changed": {query: "?replace=1", meet: session.Op{Kind: session.Put}, want: adminapi.Load{Loaded: 1}, value: "2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.before = func(op *session.Op) {
				if op.Kind != session.Put {
					return
				}
				f.before = nil
				f.Open(ring.Partition("a"))
				c.meet.Key, c.meet.Fields = "a", []session.Field{{Name: "f", Value: "3"}}
				_, err := f.Store.Do(&c.meet)
				require.NoError(t, err)
			}
			a := load(t, New(f.config()), c.query, loadLine("a", "2", ""))
			c.want.Refused = []adminapi.Refused{}
			require.Equal(t, c.want, a)
			require.Equal(t, c.value, f.value("a"))
		})
	}
	t.Run("logged out", func(t *testing.T) {
		f := newFake(t)
		f.put(t, "a")
		f.before = func(op *session.Op) {
			if op.Kind == session.Put {
				f.before = nil
				_, err := f.Store.Do(&session.Op{Kind: session.Delete, Key: "a"})
				require.NoError(t, err)
			}
		}
		a := load(t, New(f.config()), "?replace=1", loadLine("a", "2", ""))
		require.Equal(t, adminapi.Load{LoggedOut: 1, Refused: []adminapi.Refused{}}, a)
		require.True(t, f.Peek("a").Dead())
	})
}

func TestLoadWithoutAnOwner(t *testing.T) {
	f := newFake(t)
	f.unavailable = session.ErrUnavailable
	a := load(t, New(f.config()), "", loadLine("a", "2", ""))
	require.Equal(t, []adminapi.Refused{{Line: 1, Error: "look for the session: owner unavailable"}}, a.Refused)
}
