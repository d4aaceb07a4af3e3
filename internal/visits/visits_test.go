package visits

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/session"
)

// memory holds every session itself.
type memory struct {
	*session.Store
	fail error
}

func newMemory(t *testing.T, now func() time.Time) *memory {
	store, err := session.NewStore(session.Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 }, TagOf: func(key string) (string, bool) { return key, false }, Now: now,
	})
	require.NoError(t, err)
	store.Open(0)
	return &memory{Store: store}
}

func (m *memory) Get(_ context.Context, key string) (*session.Record, error) { return m.Store.Get(key) }

func (m *memory) Do(_ context.Context, op *session.Op, _ session.Ack) (session.Reply, error) {
	if m.fail != nil {
		return session.Reply{}, m.fail
	}
	res, err := m.Store.Do(op)
	return session.Reply{Result: res}, err
}

func (m *memory) put(t *testing.T, key string, fields ...session.Field) {
	_, err := m.Store.Do(&session.Op{Kind: session.Put, Key: key, Fields: fields})
	require.NoError(t, err)
}

func (m *memory) end(t *testing.T, key string) {
	_, err := m.Store.Do(&session.Op{Kind: session.Delete, Key: key})
	require.NoError(t, err)
}

// visit lets a user ask once, as a node does; fixed users are named by a proxy.
func (m *memory) visit(t *testing.T, user string, fixed bool) (*httptest.ResponseRecorder, Answer) {
	binder := holdfast.Binder{
		Sessions: m, Rename: func(id string) string { return id + "+" },
		Cookie:   func(id string) *http.Cookie { return &http.Cookie{Name: "pin", Value: id} },
		Counters: new(holdfast.Counters), Log: slog.New(slog.DiscardHandler),
	}
	counter := &Counter{m, func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusServiceUnavailable) }}
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	r.Header.Set(header.Node, "ada")
	http.SetCookie(w, &http.Cookie{Name: "pin", Value: user}) // as of an id that was only signed anew
	http.SetCookie(w, &http.Cookie{Name: "other", Value: "kept"})
	binder.Serve(w, r, counter, user, fixed)
	var a Answer
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Error(err)
		}
	}
	return w, a
}

// Each of many visits at once gets a number of its own, none is left out.
func TestVisitsAtOnceAreCountedExactly(t *testing.T) {
	t.Parallel()
	m := newMemory(t, func() time.Time { runtime.Gosched(); return time.Now() }) // between the look and the write
	const parallel, each = 8, 60
	var mu sync.Mutex
	seen := make(map[int]int)
	var group sync.WaitGroup
	for range parallel {
		group.Go(func() {
			for range each {
				w, a := m.visit(t, "visitor", false)
				mu.Lock()
				seen[a.Visits]++
				mu.Unlock()
				if w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
			}
		})
	}
	group.Wait()
	require.Len(t, seen, parallel*each)
	for visit := 1; visit <= parallel*each; visit++ {
		require.Equal(t, 1, seen[visit], "visit %d", visit)
	}
}

// An id whose session was ended begins no session again, unless a proxy says
// who the user is.
func TestVisitAfterLogoutBeginsANewSession(t *testing.T) {
	t.Parallel()
	for _, fixed := range []bool{false, true} {
		m := newMemory(t, time.Now)
		for want := 1; want <= 3; want++ {
			w, a := m.visit(t, "u", fixed)
			require.Equal(t, Answer{"u", want, "ada"}, a)
			require.Equal(t, fmt.Sprintf(`{"user":"u","visits":%d,"node":"ada"}`+"\n", want), w.Body.String())
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		}
		m.end(t, "u")
		w, a := m.visit(t, "u", fixed)
		want := "u+"
		if fixed {
			want = "u"
		}
		require.Equal(t, Answer{want, 1, "ada"}, a)
		require.ElementsMatch(t, []string{"pin=" + want, "other=kept"}, w.Header()["Set-Cookie"], "one id, and what others have set")
		require.Equal(t, []string{"no-store"}, w.Header()["Cache-Control"])
		_, a = m.visit(t, want, fixed)
		require.Equal(t, 2, a.Visits)
	}
}

// What another program has put under the user's key is not overwritten.
func TestVisitLeavesForeignSessionsAlone(t *testing.T) {
	t.Parallel()
	m := newMemory(t, time.Now)
	m.put(t, "opaque", session.Field{Name: "", Value: "bytes"})
	w, _ := m.visit(t, "opaque", false)
	require.Equal(t, http.StatusConflict, w.Code)

	m.put(t, "cart", session.Field{Name: "cart", Value: "3"}, session.Field{Name: field, Value: "many"})
	_, a := m.visit(t, "cart", false)
	require.Equal(t, 1, a.Visits)
	rec, err := m.Store.Get("cart")
	require.NoError(t, err)
	cart, ok := rec.Value("cart")
	require.True(t, ok)
	require.Equal(t, "3", cart)
}

// A visit whose session is out of reach is refused, and not counted.
func TestVisitIsRefusedWithoutItsSession(t *testing.T) {
	t.Parallel()
	m := newMemory(t, time.Now)
	m.fail = session.ErrUnavailable
	w, _ := m.visit(t, "u", false)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, session.ErrUnavailable.Error()+"\n", w.Body.String())
	m.fail = nil
	_, a := m.visit(t, "u", false)
	require.Equal(t, 1, a.Visits)
}
