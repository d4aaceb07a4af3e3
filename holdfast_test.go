package holdfast_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast"
	"github.com/seed-95a32959/holdfast/session"
)

// memory is a Sessions that holds everything itself, and keeps what it was
// asked.
type memory struct {
	store *session.Store
	mu    sync.Mutex // guards ops and fail
	ops   []session.Op
	acks  []session.Ack
	fail  func(op *session.Op) error
	now   time.Time
}

func newMemory(t testing.TB) *memory {
	t.Helper()
	m := &memory{now: time.Now()}
	var err error
	m.store, err = session.NewStore(session.Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 },
		TagOf: func(key string) (string, bool) { return key, false },
		Now:   func() time.Time { return m.now },
	})
	require.NoError(t, err)
	m.store.Open(0)
	return m
}

func (m *memory) Get(ctx context.Context, key string) (*session.Record, error) {
	reply, err := m.Do(ctx, &session.Op{Kind: session.Get, Key: key}, session.AckDefault)
	return reply.Record, err
}

func (m *memory) Do(ctx context.Context, op *session.Op, ack session.Ack) (session.Reply, error) {
	m.mu.Lock()
	m.ops, m.acks = append(m.ops, *op), append(m.acks, ack)
	fail := m.fail
	m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return session.Reply{}, err
	}
	if fail != nil {
		if err := fail(op); err != nil {
			return session.Reply{}, err
		}
	}
	res, err := m.store.Do(op)
	return session.Reply{Result: res}, err
}

// kinds are the operations since the last call of it.
func (m *memory) kinds() (kinds []session.Kind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, op := range m.ops {
		kinds = append(kinds, op.Kind)
	}
	m.ops, m.acks = nil, nil
	return kinds
}

func (m *memory) put(t testing.TB, key string, fields ...string) {
	t.Helper()
	op := session.Op{Kind: session.Put, Key: key, Revive: true}
	for i := 0; i+1 < len(fields); i += 2 {
		op.Fields = append(op.Fields, session.Field{Name: fields[i], Value: fields[i+1]})
	}
	_, err := m.store.Do(&op)
	require.NoError(t, err)
}

// fields are what is stored, as name=value, or the error.
func (m *memory) fields(key string) string {
	rec, err := m.store.Get(key)
	if err != nil {
		return err.Error()
	}
	var all []string
	for f := range rec.Fields() {
		all = append(all, f.Name+"="+f.Value)
	}
	return strings.Join(all, " ")
}

func (m *memory) binder() *holdfast.Binder {
	return &holdfast.Binder{
		Sessions: m, Rename: func(id string) string { return id + "+" },
		Cookie:   func(id string) *http.Cookie { return &http.Cookie{Name: "pin", Value: id} },
		Counters: new(holdfast.Counters), Log: slog.New(slog.DiscardHandler),
	}
}

type handler func(w http.ResponseWriter, r *http.Request, s *holdfast.Session)

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h(w, r, holdfast.FromContext(r.Context()))
}

// ask lets h answer one request of user u.
func ask(b *holdfast.Binder, h handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.Serve(w, httptest.NewRequest("GET", "/", nil), h, "u", false)
	return w
}

func TestChangesAreWrittenAsOnePatch(t *testing.T) {
	m := newMemory(t)
	m.put(t, "u", "a", `"1"`, "b", `2`, "c", `3`)
	ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		require.NoError(t, s.Set("a", "1"), "what it is already")
		require.NoError(t, s.Set("b", 7))
		require.NoError(t, s.Set("b", 8))
		require.NoError(t, s.Delete("c"))
		require.NoError(t, s.Delete("never"))
		require.NoError(t, s.Set("d", []int{1}))
		b, ok, err := holdfast.Get[int](s, "b")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, 8, b, "a request reads what it has written")
		_, ok, err = holdfast.Get[int](s, "c")
		require.NoError(t, err)
		require.False(t, ok)
		require.Equal(t, "a=\"1\" b=2 c=3", m.fields("u"), "nothing is written before the answer begins")
		fmt.Fprint(w, "answer")
		require.Equal(t, "a=\"1\" b=8 d=[1]", m.fields("u"), "all is written before the answer's first byte")
	})
	m.mu.Lock()
	patch := m.ops[1]
	m.mu.Unlock()
	require.Len(t, patch.Fields, 3, "only what differs")
	require.Equal(t, []session.Kind{session.Get, session.Patch}, m.kinds())
}

func TestNothingIsAskedForWithoutNeed(t *testing.T) {
	m := newMemory(t)
	b := m.binder()
	ask(b, func(http.ResponseWriter, *http.Request, *holdfast.Session) {})
	require.Empty(t, m.kinds(), "a request that does not look")

	look := func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		for range 3 {
			_, _, err := holdfast.Get[string](s, "a")
			require.NoError(t, err)
		}
		require.NoError(t, s.Delete("a"))
	}
	ask(b, look)
	require.Equal(t, []session.Kind{session.Get}, m.kinds(), "no session is made of nothing")

	m.put(t, "u", "b", "1")
	ask(b, look)
	require.Equal(t, []session.Kind{session.Get, session.Touch}, m.kinds(), "one that was read slides")
}

func TestExpirySlidesByReading(t *testing.T) {
	m := newMemory(t)
	b := m.binder()
	ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		require.NoError(t, s.Set("a", 1))
		require.NoError(t, s.Lifetime(10*time.Minute, time.Hour))
	})
	read := func() (found bool) {
		ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			var err error
			_, found, err = holdfast.Get[int](s, "a")
			require.NoError(t, err)
		})
		return found
	}
	for range 6 { // 54 minutes
		m.now = m.now.Add(9 * time.Minute)
		require.True(t, read())
	}
	m.now = m.now.Add(7 * time.Minute)
	require.False(t, read(), "the longest life is over")
}

// Two requests that change different fields of one session lose nothing,
// whether it was there before or not.
func TestParallelRequestsBothCount(t *testing.T) {
	for _, first := range []string{"", "new"} {
		m := newMemory(t)
		if first == "" {
			m.put(t, "u", "z", "0")
		}
		b := m.binder()
		ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			require.NoError(t, s.Set("a", 1))
			ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
				require.NoError(t, s.Set("b", 2))
			})
		})
		require.Contains(t, m.fields("u"), "a=1 b=2")
		require.Zero(t, b.Counters.Ended.Load())
	}
}

// A request that has read the session before its logout and saves it after does
// not bring it back, nor does anything it sets later.
func TestLateSaveAfterLogout(t *testing.T) {
	m := newMemory(t)
	m.put(t, "u", "user", `"alice"`)
	b := m.binder()
	w := ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		require.NoError(t, s.Set("seen", 1))
		ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) { require.NoError(t, s.Destroy()) })
		require.ErrorIs(t, s.Save(), holdfast.ErrEnded)
		require.ErrorIs(t, s.Set("again", 1), holdfast.ErrEnded)
		_, ok, err := holdfast.Get[string](s, "user")
		require.NoError(t, err)
		require.False(t, ok, "what has ended is not shown either")
	})
	require.Equal(t, http.StatusOK, w.Code, "it is as if the logout had come after the answer")
	require.Equal(t, session.ErrDeleted.Error(), m.fields("u"))
	require.EqualValues(t, 1, b.Counters.Ended.Load())
}

func TestReloadSeesTheLogout(t *testing.T) {
	m := newMemory(t)
	m.put(t, "u", "user", `"alice"`)
	b := m.binder()
	ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		require.NoError(t, s.Set("seen", 1))
		m.put(t, "u", "user", `"alicia"`)
		require.NoError(t, s.Reload())
		user, _, err := holdfast.Get[string](s, "user")
		require.NoError(t, err)
		require.Equal(t, "alicia", user)
		_, err = m.store.Do(&session.Op{Kind: session.Delete, Key: "u"})
		require.NoError(t, err)
		require.ErrorIs(t, s.Reload(), holdfast.ErrEnded)
		require.ErrorIs(t, s.Set("seen", 2), holdfast.ErrEnded)
		m.put(t, "u", "user", `"bob"`)
		require.ErrorIs(t, s.Reload(), holdfast.ErrEnded, "what began since is another session")
		_, ok, err := holdfast.Get[string](s, "user")
		require.NoError(t, err)
		require.False(t, ok)
	})
	require.Equal(t, `user="bob"`, m.fields("u"))
}

func TestRenewMovesTheSession(t *testing.T) {
	m := newMemory(t)
	m.put(t, "u", "cart", `["book"]`)
	w := ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		w.Header().Add("Set-Cookie", "pin=u")
		w.Header().Add("Set-Cookie", "lang=de")
		require.NoError(t, s.Set("user", "alice"))
		require.NoError(t, s.Renew())
		require.Equal(t, "u+", s.ID())
		w.WriteHeader(http.StatusNoContent)
		require.ErrorIs(t, s.Renew(), holdfast.ErrAnswered)
	})
	_, err := m.Get(t.Context(), "u")
	require.ErrorIs(t, err, session.ErrDeleted, "the old id is worth nothing")
	require.Equal(t, `cart=["book"] user="alice"`, m.fields("u+"))
	require.Equal(t, []string{"lang=de", "pin=u+"}, w.Result().Header["Set-Cookie"], "one id is told")
}

// TestOldCookieDoesNotLeadOn: whoever shows the cookie of before a login, right
// after it, reads nothing of the session and is not told its new id, whatever
// the handler does. It may be whoever had planted it.
func TestOldCookieDoesNotLeadOn(t *testing.T) {
	for name, act := range map[string]func(t *testing.T, s *holdfast.Session){
		"read": func(t *testing.T, s *holdfast.Session) {
			_, ok, err := holdfast.Get[string](s, "user")
			require.NoError(t, err)
			require.False(t, ok)
		},
		"write":   func(t *testing.T, s *holdfast.Session) { require.NoError(t, s.Set("cart", 1)) },
		"renew":   func(t *testing.T, s *holdfast.Session) { require.NoError(t, s.Renew()) },
		"destroy": func(t *testing.T, s *holdfast.Session) { require.NoError(t, s.Destroy()) },
		"reload":  func(t *testing.T, s *holdfast.Session) { require.NoError(t, s.Reload()) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			m.put(t, "u", "user", `"alice"`)
			_, err := m.store.Do(&session.Op{Kind: session.Rotate, Key: "u", NewKey: "secret"})
			require.NoError(t, err)
			_, err = m.Get(t.Context(), "u")
			_, leads := errors.AsType[*session.MovedError](err)
			require.True(t, leads, "or this shows nothing")
			w := ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
				act(t, s)
				require.NotEqual(t, "secret", s.ID())
			})
			require.NotContains(t, fmt.Sprint(w.Result().Header), "secret")
			require.Equal(t, `user="alice"`, m.fields("secret"))
		})
	}
}

func TestRenewOfNothing(t *testing.T) {
	m := newMemory(t)
	ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		require.NoError(t, s.Renew())
		require.NoError(t, s.Set("user", "alice"))
	})
	require.Equal(t, session.ErrNotFound.Error(), m.fields("u"))
	require.Equal(t, `user="alice"`, m.fields("u+"))
}

func TestDestroyBeginsANewSession(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		m := newMemory(t)
		m.put(t, "u", "user", `"alice"`)
		w := httptest.NewRecorder()
		m.binder().Serve(w, httptest.NewRequest("GET", "/", nil), handler(func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			require.NoError(t, s.Set("late", 1))
			require.NoError(t, s.Destroy())
			_, ok, err := holdfast.Get[string](s, "user")
			require.NoError(t, err)
			require.False(t, ok)
			require.NoError(t, s.Set("flash", "good-bye"))
		}), "u", fixed)
		if fixed {
			require.Equal(t, `flash="good-bye"`, m.fields("u"))
			require.Empty(t, w.Result().Header["Set-Cookie"])
			continue
		}
		require.Equal(t, session.ErrDeleted.Error(), m.fields("u"))
		require.Equal(t, `flash="good-bye"`, m.fields("u+"))
		require.Equal(t, []string{"pin=u+"}, w.Result().Header["Set-Cookie"])
	}
}

// An id that was logged out begins no session again: the client gets a new one
// with what it stores. A user whom a header names has no other.
func TestEndedIDIsNotBegunAgain(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		m := newMemory(t)
		m.put(t, "u", "user", `"alice"`)
		_, err := m.store.Do(&session.Op{Kind: session.Delete, Key: "u"})
		require.NoError(t, err)
		ask := func(h handler) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			m.binder().Serve(w, httptest.NewRequest("GET", "/", nil), h, "u", fixed)
			return w
		}
		set := func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			require.NoError(t, s.Set("user", "bob"))
		}
		look := ask(func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			_, ok, err := holdfast.Get[string](s, "user")
			require.NoError(t, err)
			require.False(t, ok)
		})
		require.Empty(t, look.Result().Header["Set-Cookie"], "nothing was begun")
		if fixed {
			require.Empty(t, ask(set).Result().Header["Set-Cookie"])
			require.Equal(t, `user="bob"`, m.fields("u"))
			continue
		}
		w := ask(set)
		require.Equal(t, []string{"pin=u+"}, w.Result().Header["Set-Cookie"])
		require.Equal(t, `user="bob"`, m.fields("u+"))
		require.Equal(t, session.ErrDeleted.Error(), m.fields("u"))

		_, err = m.store.Do(&session.Op{Kind: session.Delete, Key: "u+"})
		require.NoError(t, err)
		w = ask(func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			w.WriteHeader(http.StatusOK)
			require.NoError(t, s.Set("user", "eve"))
			require.ErrorIs(t, s.Save(), holdfast.ErrEnded, "nobody can tell the client a new id any more")
			require.ErrorIs(t, s.Set("user", "eve"), holdfast.ErrEnded)
		})
		require.Empty(t, w.Result().Header["Set-Cookie"])
		require.Equal(t, session.ErrDeleted.Error(), m.fields("u"))
		require.Equal(t, session.ErrDeleted.Error(), m.fields("u+"))
	}
}

func TestFailedSaveReplacesTheAnswer(t *testing.T) {
	m := newMemory(t)
	b := m.binder()
	m.fail = func(op *session.Op) error {
		if op.Kind == session.Put {
			return fmt.Errorf("put: %w", session.ErrUnavailable)
		}
		return nil
	}
	for name, finish := range map[string]func(w http.ResponseWriter){
		"nothing": func(http.ResponseWriter) {},
		"status":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusSeeOther) },
		"body": func(w http.ResponseWriter) {
			_, err := io.WriteString(w, "welcome")
			require.Error(t, err)
			_, err = w.(io.ReaderFrom).ReadFrom(strings.NewReader("welcome"))
			require.Error(t, err)
		},
		"flush": func(w http.ResponseWriter) {
			require.Error(t, http.NewResponseController(w).Flush())
		},
	} {
		before := b.Counters.Unsaved.Load()
		w := ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			w.Header().Set("Location", "/account")
			w.Header().Add("Set-Cookie", "remember=me")
			w.Header().Add("Set-Cookie", "pin=u")
			require.NoError(t, s.Set("user", "alice"))
			finish(w)
		})
		require.Equal(t, http.StatusServiceUnavailable, w.Code, name)
		h := w.Result().Header
		require.Equal(t, "application/problem+json", h.Get("Content-Type"), name)
		require.Contains(t, w.Body.String(), "session-not-saved", name)
		require.NotContains(t, w.Body.String(), "welcome", name)
		require.Empty(t, h.Get("Location"), name)
		require.Equal(t, []string{"pin=u"}, h["Set-Cookie"], name)
		require.Equal(t, "1", h.Get("Retry-After"), name)
		require.Equal(t, before+1, b.Counters.Unsaved.Load(), name)
	}
}

// After the answer has begun a change is still written, and a failure counted.
func TestChangesAfterTheAnswerHasBegun(t *testing.T) {
	m := newMemory(t)
	b := m.binder()
	late := func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		w.WriteHeader(http.StatusAccepted)
		require.NoError(t, s.Set("late", 1))
	}
	require.Equal(t, http.StatusAccepted, ask(b, late).Code)
	require.Equal(t, "late=1", m.fields("u"))

	m = newMemory(t)
	b = m.binder()
	m.fail = func(op *session.Op) error {
		if op.Kind.Writes() {
			return session.ErrUnavailable
		}
		return nil
	}
	require.Equal(t, http.StatusAccepted, ask(b, late).Code)
	require.EqualValues(t, 1, b.Counters.Unsaved.Load())
}

// What a handler has done counts also when its client has left.
func TestClientThatLeft(t *testing.T) {
	m := newMemory(t)
	ctx, leave := context.WithCancel(t.Context())
	w := httptest.NewRecorder()
	m.binder().Serve(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx), handler(func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		require.NoError(t, s.Set("code", "used"))
		leave()
	}), "u", false)
	require.Equal(t, `code="used"`, m.fields("u"))
}

func TestPanicWritesNothing(t *testing.T) {
	m := newMemory(t)
	var kept *holdfast.Session
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			kept = s
			require.NoError(t, s.Set("half", 1))
			panic(http.ErrAbortHandler)
		})
	})
	require.Equal(t, session.ErrNotFound.Error(), m.fields("u"))
	require.ErrorIs(t, kept.Set("half", 2), holdfast.ErrAnswered, "the request is over")
}

func TestUnreadableSession(t *testing.T) {
	m := newMemory(t)
	m.fail = func(*session.Op) error { return session.ErrUnavailable }
	w := ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		_, _, err := holdfast.Get[string](s, "a")
		require.ErrorIs(t, err, session.ErrUnavailable)
		require.ErrorIs(t, s.Set("a", 1), session.ErrUnavailable, "nobody knows what would be overwritten")
	})
	require.Equal(t, http.StatusOK, w.Code)

	m = newMemory(t)
	m.put(t, "u", "", "bytes")
	ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		_, _, err := holdfast.Get[string](s, "a")
		require.ErrorIs(t, err, session.ErrType)
	})
}

func TestTypedFields(t *testing.T) {
	type cart struct{ Items []string }
	m := newMemory(t)
	m.put(t, "u", "raw", "not json", "number", "42")
	ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		for _, text := range []string{"", "plain", `quo"te`, `back\slash`, "línea\n", "<&>", `"`} {
			require.NoError(t, s.Set("text", text))
			got, ok, err := holdfast.Get[string](s, "text")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, text, got)
		}
		require.NoError(t, s.Set("cart", cart{[]string{"book"}}))
		got, ok, err := holdfast.Get[cart](s, "cart")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, cart{[]string{"book"}}, got)
		_, ok, err = holdfast.Get[int](s, "cart")
		require.ErrorContains(t, err, `"cart" is no int`)
		require.False(t, ok)
		raw, _, err := holdfast.Get[string](s, "raw")
		require.NoError(t, err)
		require.Equal(t, "not json", raw)
		_, _, err = holdfast.Get[string](s, "number")
		require.Error(t, err)
		for _, name := range []string{"", "\x00type", "\xff"} {
			require.ErrorIs(t, s.Set(name, 1), holdfast.ErrName)
			_, ok, err = holdfast.Get[string](s, name)
			require.NoError(t, err)
			require.False(t, ok)
		}
		require.Error(t, s.Set("chan", make(chan int)))
	})
}

func TestGoroutinesOfOneRequest(t *testing.T) {
	m := newMemory(t)
	m.put(t, "u", "n0", "0")
	ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				name := fmt.Sprint("n", i)
				if err := s.Set(name, i); err != nil {
					t.Error(err)
				}
				if v, ok, err := holdfast.Get[int](s, name); err != nil || !ok || v != i {
					t.Errorf("%s: %d, %v, %v", name, v, ok, err)
				}
			})
		}
		group.Wait()
	})
	require.Equal(t, "n0=0 n1=1 n2=2 n3=3 n4=4 n5=5 n6=6 n7=7", m.fields("u"))
	require.Equal(t, []session.Kind{session.Get, session.Patch}, m.kinds())
}

func TestAckReachesTheWrite(t *testing.T) {
	m := newMemory(t)
	ask(m.binder(), func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
		s.Ack(session.AckReplica)
		require.NoError(t, s.Set("a", 1))
	})
	require.Equal(t, []session.Ack{session.AckDefault, session.AckReplica}, m.acks)
}

func TestFromContextWithoutASession(t *testing.T) {
	require.Panics(t, func() { holdfast.FromContext(t.Context()) })
}

// Informational answers are not the answer: the session is not saved by them.
func TestEarlyHints(t *testing.T) {
	m := newMemory(t)
	var during string
	b := m.binder()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.Serve(w, r, handler(func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			if err := s.Set("a", 1); err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusEarlyHints)
			during = m.fields("u")
		}), "u", false)
	}))
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, session.ErrNotFound.Error(), during)
	require.Equal(t, "a=1", m.fields("u"))
}

// TestLogoutOfAnIDMadeForTheRequest: a visitor who logs out without a session
// leaves no tombstone; a visitor who has written one, or may have, does.
func TestLogoutOfAnIDMadeForTheRequest(t *testing.T) {
	destroy := func(made bool, before func(s *holdfast.Session)) (tombstones int) {
		m := newMemory(t)
		b := m.binder()
		b.Made = func(*http.Request) bool { return made }
		w := ask(b, func(w http.ResponseWriter, r *http.Request, s *holdfast.Session) {
			before(s)
			require.NoError(t, s.Destroy())
		})
		require.Equal(t, http.StatusOK, w.Code)
		require.NotEmpty(t, w.Result().Header["Set-Cookie"])
		return m.store.Stats().Tombstones
	}
	nothing := func(*holdfast.Session) {}
	require.Equal(t, 0, destroy(true, nothing))
	require.Equal(t, 0, destroy(true, func(s *holdfast.Session) { require.NoError(t, s.Set("a", 1)) }), "not written yet")
	require.Equal(t, 1, destroy(false, nothing), "somebody may have a session under it")
	require.Equal(t, 1, destroy(true, func(s *holdfast.Session) {
		require.NoError(t, s.Set("a", 1))
		require.NoError(t, s.Save())
	}))
}
