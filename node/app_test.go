package node

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// alone is a still member that serves everything: no other one is in its view.
func alone(t *testing.T, change ...func(*Config)) *Node {
	n := still(t, "a", change...)
	n.see(t)
	for p := range ring.Partitions {
		n.serving(t, p, 1)
	}
	return n
}

func (n *Node) visit(t *testing.T, user string) (int, demoAnswer) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set(header.Key, user)
	n.demo(w, r)
	var a demoAnswer
	if w.Code == http.StatusOK {
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	}
	return w.Code, a
}

// Each of many visits at once gets a number of its own, none is left out.
func TestVisitsAtOnceAreCountedExactly(t *testing.T) {
	t.Parallel()
	n := alone(t, func(c *Config) {
		c.Now = func() time.Time { runtime.Gosched(); return time.Now() } // between the look and the write
	})
	const parallel, each = 8, 60
	var mu sync.Mutex
	seen := make(map[int]int)
	var group sync.WaitGroup
	for range parallel {
		group.Go(func() {
			for range each {
				code, a := n.visit(t, "visitor")
				mu.Lock()
				seen[a.Visits]++
				mu.Unlock()
				if code != http.StatusOK {
					t.Errorf("status %d", code)
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

func TestVisitAfterLogoutBeginsANewSession(t *testing.T) {
	t.Parallel()
	n := alone(t)
	for want := 1; want <= 3; want++ {
		_, a := n.visit(t, "u")
		require.Equal(t, demoAnswer{"u", want, "a"}, a)
	}
	require.NoError(t, n.Sessions().Delete(t.Context(), "u"))
	_, a := n.visit(t, "u")
	require.Equal(t, 1, a.Visits)
}

// What another program has put under the user's key is not overwritten.
func TestVisitLeavesForeignSessionsAlone(t *testing.T) {
	t.Parallel()
	n := alone(t)
	_, err := n.Sessions().Put(t.Context(), "opaque", []session.Field{{Name: "", Value: "bytes"}}, 0)
	require.NoError(t, err)
	code, _ := n.visit(t, "opaque")
	require.Equal(t, http.StatusConflict, code)

	_, err = n.Sessions().Put(t.Context(), "cart", []session.Field{{Name: "cart", Value: "3"}, {Name: visitsField, Value: "many"}}, 0)
	require.NoError(t, err)
	_, a := n.visit(t, "cart")
	require.Equal(t, 1, a.Visits)
	rec, err := n.Sessions().Get(t.Context(), "cart")
	require.NoError(t, err)
	cart, ok := rec.Value("cart")
	require.True(t, ok)
	require.Equal(t, "3", cart)
}
