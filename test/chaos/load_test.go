package main

import (
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// fakeStore is a session server with faults that can be switched on.
type fakeStore struct {
	mu       sync.Mutex
	sessions map[string]image
	writes   int
	forget   bool // acknowledges every third write and does not do it
	deny     bool // says of some sessions that they do not exist
	fail     bool // answers 500 now and then
}

func (s *fakeStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := strings.TrimPrefix(r.URL.Path, "/v1/sessions/")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deny && strings.HasSuffix(key, "3") {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	switch r.Method {
	case http.MethodPut:
		m, err := decodeImage(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.sessions[key] = m
		w.WriteHeader(http.StatusCreated)
		return
	case http.MethodPatch:
		s.writes++
		if s.fail && s.writes%5 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		m, err := decodeImage(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if !s.forget || s.writes%3 != 0 {
			maps.Copy(s.sessions[key], m)
		}
	}
	_ = json.NewEncoder(w).Encode(s.sessions[key])
}

// underTest stores ten sessions and returns a load on them.
func underTest(t *testing.T, s *fakeStore) *load {
	t.Helper()
	s.sessions = make(map[string]image)
	d := newDoor("router", serve(t, s.ServeHTTP), true)
	t.Cleanup(d.close)
	l := &load{doors: []*door{d}, ledgers: newLedgers("s", 5), tally: newTally(), rate: 100_000, writes: 0.5}
	require.NoError(t, create(t.Context(), d, l.ledgers))
	return l
}

// steps runs requests one after the other.
func (l *load) steps(t *testing.T, n int) count {
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		l.step(t.Context(), r)
	}
	return l.tally.all()
}

func TestLoadFindsNothingWrongWithAGoodStore(t *testing.T) {
	l := underTest(t, &fakeStore{})
	c := l.steps(t, 300)
	require.Equal(t, 300, c.total())
	require.Equal(t, 300, c.by[fine])
	require.NotZero(t, c.reads)
	require.NotZero(t, c.writes)
	s := l.settle(t.Context(), l.doors[0])
	require.Empty(t, s.lost["replica"])
	require.Empty(t, s.lost["async"])
	require.Zero(t, s.missing)
	require.Positive(t, l.tally.quantile(0.5))
	require.GreaterOrEqual(t, l.tally.worst(), l.tally.quantile(0.5)/2)
}

func TestLoadFindsForgottenWrites(t *testing.T) {
	l := underTest(t, &fakeStore{forget: true})
	c := l.steps(t, 300)
	require.NotZero(t, c.by[stale])
	s := l.settle(t.Context(), l.doors[0])
	require.NotEmpty(t, s.lost["replica"])
	require.NotEmpty(t, s.lost["async"])
	require.Len(t, l.tally.examples("replica", "stale"), examples)
	require.Contains(t, l.tally.examples("replica", "stale")[0], "had been acknowledged")
	again := l.settle(t.Context(), l.doors[0])
	require.Empty(t, again.lost["replica"], "what is lost is counted once")
}

func TestLoadFindsFalseNotFounds(t *testing.T) {
	s := &fakeStore{}
	l := underTest(t, s)
	s.deny = true
	l.flood = true
	c := l.steps(t, 10)
	require.Equal(t, 10*batch, c.reads)
	require.NotZero(t, c.by[absent])
	require.Equal(t, 2, l.settle(t.Context(), l.doors[0]).missing)
}

func TestLoadCountsFailures(t *testing.T) {
	l := underTest(t, &fakeStore{fail: true})
	c := l.steps(t, 300)
	require.NotZero(t, c.by[failed])
	require.Equal(t, 300, c.by[fine]+c.by[failed], "a write that failed may or may not show")
}

func TestLoadStops(t *testing.T) {
	running := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, running) }) // after the server's own
	l := underTest(t, &fakeStore{})
	for range 2 {
		before := l.tally.all().total()
		l.start(t.Context())
		for l.tally.all().total() < before+100 {
			require.True(t, nursery.Sleep(t.Context(), 1))
		}
		l.stop()
	}
	require.Equal(t, l.tally.all().total(), l.tally.all().by[fine])
	l.doors[0].close()
}
