package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/session"
)

// newDoor is a door with the default limits.
func newDoor(tb testing.TB) (http.Handler, *oneNode) {
	node := newOneNode(tb, session.Config{})
	return New(Config{
		Sessions: node, SamePartition: node.samePartition,
		Log: slog.New(slog.NewTextHandler(&node.log, nil)),
	}), node
}

// send makes one exchange; header is a list of names and values.
func send(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func sendJSON(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	return send(h, method, target, body, append(header, "Content-Type", "application/json")...)
}

func TestNewPanicsWithoutWhatItNeeds(t *testing.T) {
	require.PanicsWithValue(t, "api: Config.Sessions is nil", func() { New(Config{}) })
	require.PanicsWithValue(t, "api: Config.SamePartition is nil", func() { New(Config{Sessions: &oneNode{}}) })
}

func TestDefaultIDsAreLongAndNew(t *testing.T) {
	door, _ := newDoor(t)
	seen := map[string]bool{}
	for range 100 {
		w := send(door, "POST", "/v1/sessions", "")
		require.Equal(t, 201, w.Code)
		id := strings.TrimPrefix(w.Header().Get("Location"), "/v1/sessions/")
		require.GreaterOrEqual(t, len(id), 26, "26 characters of base32 have 130 bits")
		require.False(t, seen[id])
		seen[id] = true
	}
}

func TestETagIsSixteenHexDigits(t *testing.T) {
	door, _ := newDoor(t)
	w := sendJSON(door, "PUT", "/v1/sessions/a", `{}`)
	require.Regexp(t, regexp.MustCompile(`^"[0-9a-f]{16}"$`), w.Header().Get("ETag"))
	rapid.Check(t, func(t *rapid.T) {
		version := session.Stamp(rapid.Uint64Min(1).Draw(t, "version"))
		tag := etag(version)
		require.Equal(t, fmt.Sprintf(`"%016x"`, uint64(version)), tag)
		require.Equal(t, version, parseVersion(strings.Trim(tag, `"`)))
	})
	for _, other := range []string{"", "0", "0000000000000000", "1", "+000000000000001", "00000000000000A1", "0000000000000_01", "00000000000000001"} {
		require.Equal(t, noVersion, parseVersion(other), other)
	}
}

// reader counts what is read of an endless body.
type reader struct{ n int }

func (r *reader) Read(p []byte) (int, error) {
	r.n += len(p)
	return len(p), nil
}

func TestTooLargeIsNotReadToItsEnd(t *testing.T) {
	door, _ := newDoor(t)
	const most = defaultMaxSession + lingerBytes + 64<<10 // what is looked at, what is lingered over, and a buffer
	for stated, bound := range map[int64]int{1 << 40: 0, 2 << 20: most, -1: most} {
		body := &reader{}
		r := httptest.NewRequest("PUT", "/v1/sessions/a", body)
		r.ContentLength = stated
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
		require.LessOrEqual(t, body.n, bound, "stated %d", stated)
		if bound > 0 { // closed with bytes unread, the connection would be reset under the answer
			require.GreaterOrEqual(t, body.n, lingerBytes, "stated %d", stated)
		}
	}
}

func TestBrokenOffBody(t *testing.T) {
	door, _ := newDoor(t)
	r := httptest.NewRequest("PUT", "/v1/sessions/a", io.MultiReader(strings.NewReader("{"), errReader{}))
	w := httptest.NewRecorder()
	door.ServeHTTP(w, r)
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Contains(t, w.Body.String(), "problems/bad-body")
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset by 10.0.0.1") }

// Over a real server: what net/http adds must not spoil what scenarios show.
func TestOverTheWire(t *testing.T) {
	door, _ := newDoor(t)
	srv := httptest.NewServer(door)
	defer srv.Close()
	do := func(method, path, body string) (*http.Response, string) {
		r, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		resp, err := srv.Client().Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(b)
	}
	resp, _ := do("PUT", "/v1/sessions/%7Bcarol%7D:a%2Fb", `{"n":1}`)
	require.Equal(t, 201, resp.StatusCode)
	get, body := do("GET", "/v1/sessions/%7Bcarol%7D:a%2Fb", "")
	require.Equal(t, `{"n":1}`, body)
	head, body := do("HEAD", "/v1/sessions/%7Bcarol%7D:a%2Fb", "")
	require.Empty(t, body)
	get.Header.Del("Date")
	head.Header.Del("Date")
	require.Equal(t, get.Header, head.Header)
	resp, _ = do("PUT", "/v1/sessions/big", `{"x":"`+strings.Repeat("y", 2<<20)+`"}`)
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	_, body = do("GET", "/v1/users/carol/sessions", "")
	require.Contains(t, body, `"{carol}:a/b"`)
}

// Where nobody can say whether there is a session, one with a condition is
// refused. A new id has no need of one.
func TestPostMakesNoCondition(t *testing.T) {
	door, node := newDoor(t)
	asked := 0
	node.hook = func(op *session.Op) {
		asked++
		require.Equal(t, session.Put, op.Kind)
		require.False(t, op.Create || op.Exists || op.IfVersion != 0)
	}
	require.Equal(t, 201, send(door, "POST", "/v1/sessions", "").Code)
	require.Equal(t, 1, asked)
}

// Whatever key the rules allow, each address that we give out leads back to it.
func TestLocationLeadsToTheSession(t *testing.T) {
	keys := rapid.StringN(1, 40, 512).Filter(func(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) })
	used := make(map[string]bool)
	node := newOneNode(t, session.Config{})
	rapid.Check(t, func(t *rapid.T) {
		key := keys.Filter(func(key string) bool { return !used[key] }).Draw(t, "key")
		used[key] = true
		door := New(Config{Sessions: node, NewID: func() string { return key }, SamePartition: node.samePartition})
		w := sendJSON(door, "POST", "/v1/sessions", `{"n":1}`)
		require.Equal(t, 201, w.Code, w.Body.String())
		where := w.Header().Get("Location")
		require.Equal(t, 200, send(door, "GET", where, "").Code)
		w = send(door, "POST", where+"/rotate", "")
		require.Equal(t, 201, w.Code, w.Body.String())
		require.Equal(t, 410, send(door, "GET", where, "").Code)
		where = w.Header().Get("Location")
		require.Equal(t, 200, send(door, "GET", where, "").Code)
		var made struct{ ID string }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &made))
		require.Equal(t, "/v1/sessions/"+url.PathEscape(made.ID), where)
	})
}

// A write between the look at the versions and the write under condition is
// not lost: the owner compares again.
func TestIfMatchListIsComparedAgainByTheOwner(t *testing.T) {
	door, node := newDoor(t)
	first := sendJSON(door, "PUT", "/v1/sessions/a", `{"n":1}`).Header().Get("ETag")
	node.hook = func(op *session.Op) {
		if op.Kind == session.Put {
			node.hook = nil
			require.Equal(t, 200, sendJSON(door, "PATCH", "/v1/sessions/a", `{"other":1}`).Code)
		}
	}
	w := sendJSON(door, "PUT", "/v1/sessions/a", `{"n":2}`, "If-Match", `"x", `+first)
	require.Equal(t, http.StatusPreconditionFailed, w.Code)
	require.JSONEq(t, `{"n":1,"other":1}`, send(door, "GET", "/v1/sessions/a", "").Body.String())
}

// Parallel patches of different fields both count.
func TestParallelPatches(t *testing.T) {
	door, _ := newDoor(t)
	sendJSON(door, "PUT", "/v1/sessions/a", `{}`)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 50 {
				sendJSON(door, "PATCH", "/v1/sessions/a", fmt.Sprintf(`{"w%d-%d":%d}`, worker, i, i))
			}
		})
	}
	wg.Wait()
	var got map[string]int
	require.NoError(t, json.Unmarshal(send(door, "GET", "/v1/sessions/a", "").Body.Bytes(), &got))
	require.Len(t, got, 200)
}

func TestLogsAndAnswersTellNoSecrets(t *testing.T) {
	door, node := newDoor(t)
	for _, fault := range []string{"panic", "internal"} {
		node.next = fault
		w := send(door, "GET", "/v1/sessions/alice", "")
		require.Equal(t, http.StatusInternalServerError, w.Code)
		for _, secret := range []string{"alice", "goroutine", "fire"} {
			require.NotContains(t, w.Body.String(), secret)
		}
	}
	node.next = "unavailable"
	require.NotContains(t, send(door, "GET", "/v1/sessions/alice", "").Body.String(), "10.0.0.2")

	log := node.log.String()
	require.Equal(t, 2, strings.Count(log, "\n"), "what is the cluster's trouble and not ours is not logged here:\n%s", log)
	require.NotContains(t, log, "alice")
	require.Contains(t, log, fmt.Sprintf("key_hash=%016x", session.KeyHash("alice")))
	require.Contains(t, log, "on fire")
	require.Contains(t, log, "no such thing as …")
}

// brokenWriter fails as a connection does that goes away, with a panic in place
// of an error.
type brokenWriter struct {
	http.ResponseWriter
	cause any
}

func (w brokenWriter) WriteHeader(int) { panic(w.cause) }

func TestHalfAnAnswerIsNoAnswer(t *testing.T) {
	door, node := newDoor(t)
	r := httptest.NewRequest("POST", "/v1/sessions", nil)
	for _, cause := range []any{"boom", http.ErrAbortHandler} {
		w := brokenWriter{httptest.NewRecorder(), cause}
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { door.ServeHTTP(w, r) })
	}
	require.Equal(t, 1, strings.Count(node.log.String(), "\n"), "an abort on purpose is not logged")
}

// The request's context reaches the operation, so that work for a client who
// has gone away can stop.
func TestContextIsTheRequests(t *testing.T) {
	type mark struct{}
	var seen any
	node := newOneNode(t, session.Config{})
	door := New(Config{Sessions: doFunc(func(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error) {
		seen = ctx.Value(mark{})
		return node.Do(ctx, op, ack)
	}), SamePartition: node.samePartition})
	r := httptest.NewRequest("GET", "/v1/sessions/a", nil)
	door.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), mark{}, "this one")))
	require.Equal(t, "this one", seen)
}

type doFunc func(context.Context, *session.Op, session.Ack) (session.Reply, error)

func (f doFunc) Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error) {
	return f(ctx, op, ack)
}

// FuzzPut sends any body as any type: it is stored and read back as sent, or
// refused by a problem document, and nothing else happens.
func FuzzPut(f *testing.F) {
	f.Add("application/json", []byte(`{"a":[1,2,{"b":null}]}`))
	f.Add("application/ld+json; charset=utf-8", []byte(`{"a":1,"a":2}`))
	f.Add("text/plain", []byte("hello"))
	f.Add("", []byte{0xff, 0})
	f.Add("a/b; c=\"", []byte(""))
	door, node := newDoor(f)
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		node.log.Reset()
		r := httptest.NewRequest("PUT", "/v1/sessions/a", bytes.NewReader(body))
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		require.Empty(t, node.log.String())
		switch w.Code {
		case 201, 204:
			got := send(door, "GET", "/v1/sessions/a", "")
			require.Equal(t, 200, got.Code)
			require.Equal(t, w.Header().Get("ETag"), got.Header().Get("ETag"))
			if got.Header().Get("Content-Security-Policy") != "" {
				require.Equal(t, body, append([]byte{}, got.Body.Bytes()...))
			} else {
				require.JSONEq(t, string(body), got.Body.String())
			}
		case 400, 413:
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			require.True(t, json.Valid(w.Body.Bytes()))
		default:
			require.Fail(t, "unexpected status", w.Code)
		}
	})
}

// FuzzExchange sends any request line and any condition.
func FuzzExchange(f *testing.F) {
	f.Add("GET", "/v1/sessions/a?ttl=1s", `"x", W/"y"`, "*")
	f.Add("PATCH", "/v1/users/%7d/sessions", `*`, `"`)
	f.Add("POST", "/v1/sessions/a%2f%ff/rotate", ` , "0000000000000000",,W/`, "")
	door, node := newDoor(f)
	f.Fuzz(func(t *testing.T, method, target, match, none string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip()
		}
		node.log.Reset()
		r := httptest.NewRequest("GET", "/", strings.NewReader(`{"n":1}`))
		r.Method, r.URL = method, u
		r.Header = http.Header{"Content-Type": {"application/json"}, "If-Match": {match}, "If-None-Match": {none}}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		require.Less(t, w.Code, 500)
		require.Empty(t, node.log.String())
	})
}
