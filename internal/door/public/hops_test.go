package public

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/router"
)

// hopsOf are the keys of a member with these secrets that sees a view.
func hopsOf(self member.ID, s *Secrets, view **member.View) *Hops {
	return NewHops(HopsConfig{
		Self: self, Secrets: s, Now: time.Now, Ahead: func(member.ID) time.Duration { return 0 },
		View: func() *member.View { return *view },
	})
}

// routerOf is a router that believes what these keys prove.
func routerOf(t *testing.T, h *Hops) *router.Router {
	rt, err := router.New(router.Config{
		Lookup: func(string) router.Route { return router.Route{} }, Any: func() router.Target { return router.Target{} },
		Finder: &router.Finder{UserHeader: "X-User-ID", Cookie: "holdfast", Secrets: [][]byte{older}}, Hops: h,
	})
	require.NoError(t, err)
	t.Cleanup(rt.Close)
	return rt
}

// Members that share a secret believe each other, while it is being changed
// too, and so do members that have none. Nobody else does.
func TestWhoseHopsAreBelieved(t *testing.T) {
	t.Parallel()
	gossip, otherGossip := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	type has struct {
		secrets, gossip [][]byte
		app             bool
	}
	for name, c := range map[string]struct {
		from, to has
		want     bool
	}{
		"nothing":                         {has{}, has{}, true},
		"nothing, with applications":      {has{app: true}, has{app: true}, true},
		"one gossip key":                  {has{gossip: [][]byte{gossip}}, has{gossip: [][]byte{gossip}}, true},
		"a gossip key that changes":       {has{gossip: [][]byte{otherGossip, gossip}}, has{gossip: [][]byte{gossip, otherGossip}}, true},
		"two gossip keys":                 {has{gossip: [][]byte{gossip}}, has{gossip: [][]byte{otherGossip}}, false},
		"no gossip key":                   {has{}, has{gossip: [][]byte{gossip}}, false},
		"one secret":                      {has{secrets: [][]byte{older}}, has{secrets: [][]byte{older}, app: true}, true},
		"a secret that changes":           {has{secrets: [][]byte{older}}, has{secrets: [][]byte{newer, older}}, true},
		"a secret that has changed":       {has{secrets: [][]byte{newer, older}}, has{secrets: [][]byte{older}}, true},
		"a secret that is over":           {has{secrets: [][]byte{older}}, has{secrets: [][]byte{newer}}, false},
		"two secrets":                     {has{secrets: [][]byte{older}}, has{secrets: [][]byte{other}}, false},
		"no secret, and one":              {has{}, has{secrets: [][]byte{older}}, false},
		"no secret, and one, with gossip": {has{gossip: [][]byte{gossip}}, has{secrets: [][]byte{older}, gossip: [][]byte{gossip}}, false},
		"a secret, and none":              {has{secrets: [][]byte{older}}, has{}, true},
		"a secret, and an application's":  {has{secrets: [][]byte{older}}, has{app: true}, true},
	} {
		make := func(name string, h has) (*Secrets, *member.Member) {
			var shared []byte
			var old [][]byte
			if len(h.secrets) > 0 {
				shared, old = h.secrets[0], h.secrets[1:]
			}
			s, m := NewSecrets(shared, old, h.gossip), up(name)
			if shared != nil || h.app { // a node without an application tells no tag
				m.Secret = s.Tag()
			}
			return s, m
		}
		fromSecrets, from := make("a", c.from)
		toSecrets, to := make("b", c.to)
		fromView, toView := viewOf(t, from, to), viewOf(t, to, from)
		there := routerOf(t, hopsOf(to.ID, toSecrets, &toView))
		here := hopsOf(from.ID, fromSecrets, &fromView)
		for range 2 { // the second time the keys are at hand
			self, keys, now := here.To(router.Target{Name: "b", Boot: to.Boot})
			believed := 0
			for _, key := range keys {
				r := httptest.NewRequest("GET", "/v1/sessions/k", nil)
				key.Prove(r, self, now)
				hop, err := there.Arrived(r)
				require.NoError(t, err, name)
				if hop != nil {
					believed++
				}
			}
			require.Equal(t, c.want, believed == 1, name)
			require.LessOrEqual(t, believed, 1, name)
		}
	}
}

// The time in a proof is by the clock of the member that gets it.
func TestProofsAreDatedByTheReceiversClock(t *testing.T) {
	t.Parallel()
	view, now := viewOf(t, up("a"), up("b")), time.UnixMilli(1e12)
	h := NewHops(HopsConfig{
		Self: membertest.ID("a", 1), Secrets: NewSecrets(older, nil, nil), View: func() *member.View { return view }, Now: func() time.Time { return now },
		Ahead: func(to member.ID) time.Duration { return map[string]time.Duration{"b": time.Hour}[to.Name] },
	})
	_, _, at := h.To(router.Target{Name: "b", Boot: membertest.ID("b", 1).Boot})
	require.Equal(t, now.Add(time.Hour), at)
	_, at = h.From(membertest.ID("b", 1).String())
	require.Equal(t, now, at)
}

// The keys of members are kept, and those of members that are gone are not.
func TestKeysOfHopsAreBounded(t *testing.T) {
	t.Parallel()
	var view *member.View
	h := hopsOf(membertest.ID("a", 1), NewSecrets(nil, nil, nil), &view)
	for i := range 1000 {
		b := up("b")
		b.ID = membertest.ID("b", i)
		view = viewOf(t, up("a"), b)
		target := router.Target{Name: "b", Boot: b.Boot}
		_, first, _ := h.To(target)
		_, again, _ := h.To(target)
		require.Same(t, first[0], again[0])
		keys, _ := h.From(b.ID.String())
		more, _ := h.From(b.ID.String())
		require.Same(t, keys[0], more[0])
		_, _ = h.From(fmt.Sprintf("stranger~%d", i))
	}
	require.Less(t, len(*h.to.Load()), 32)
	require.Less(t, len(*h.from.Load()), 32)
	_, keys, _ := h.To(router.Target{Name: "never", Boot: "1"})
	require.Empty(t, keys)
}
