package node

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/router"
)

// asMember is n as others see it.
func asMember(n *Node, name string) *Member {
	m := up(name, 1)
	m.Secret = n.ownSecretTag()
	return m
}

// Members that share a secret believe each other, while it is being changed too,
// and so do members that have none. Nobody else does.
func TestWhoseHopsAreBelieved(t *testing.T) {
	t.Parallel()
	older, newer, other := []byte("sixteen bytes, older"), []byte("sixteen bytes, newer"), []byte("sixteen bytes, other")
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
		make := func(name string, h has) *Node {
			n := still(t, name, func(c *Config) {
				c.GossipKeys, c.Demo = h.gossip, h.app
				if len(h.secrets) > 0 {
					c.Secret, c.OldSecrets = h.secrets[0], h.secrets[1:]
				}
			})
			require.NoError(t, n.openRouter())
			return n
		}
		from, to := make("a", c.from), make("b", c.to)
		from.see(t, asMember(to, "b"))
		to.see(t, asMember(from, "a"))
		for range 2 { // the second time the keys are at hand
			self, keys, now := newHops(from).To(router.Target{Name: "b", Boot: id("b", 1).Boot})
			believed := 0
			for _, key := range keys {
				r := httptest.NewRequest("GET", "/v1/sessions/k", nil)
				key.Prove(r, self, now)
				hop, err := to.router.Arrived(r)
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

// What a visitor says who knows all names, and sends from a member's host, is a
// visitor's word, whatever the cluster shares.
func TestVisitorsAreNoMembers(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	require.NoError(t, n.openRouter())
	n.see(t, up("b", 1))
	for i, secret := range [][]byte{nil, {}, []byte("a"), n.secret[:16]} {
		for _, to := range []string{"a", "a~", "a~" + strings.Repeat("0", 28), n.id.Name, ""} {
			r := httptest.NewRequest("GET", "/v1/sessions/k", nil)
			router.NewHopKey(secret, id("b", 1).String(), to).Prove(r, id("b", 1).String(), n.cfg.Now())
			hop, err := n.router.Arrived(r)
			require.NoError(t, err)
			require.Nil(t, hop, "secret %d, as if to %q", i, to)
		}
	}
	require.NotZero(t, n.router.Stats().Unproven)
	require.EqualValues(t, n.router.Stats().Unproven, n.operator.Stats().Counters["hops_unproven"])
}

// The keys of members are kept, and those of members that are gone are not.
func TestKeysOfHopsAreBounded(t *testing.T) {
	t.Parallel()
	n := still(t, "a")
	require.NoError(t, n.openRouter())
	h := newHops(n)
	for i := range 1000 {
		n.see(t, up("b", i))
		target := router.Target{Name: "b", Boot: id("b", i).Boot}
		_, first, _ := h.To(target)
		_, again, _ := h.To(target)
		require.Same(t, first[0], again[0])
		keys, _ := h.From(id("b", i).String())
		more, _ := h.From(id("b", i).String())
		require.Same(t, keys[0], more[0])
		_, _ = h.From(fmt.Sprintf("stranger~%d", i))
	}
	require.Less(t, len(*h.to.Load()), 32)
	require.Less(t, len(*h.from.Load()), 32)
	_, keys, _ := h.To(router.Target{Name: "never", Boot: "1"})
	require.Empty(t, keys)
}

// Clocks may be years apart. The time in a proof is by the receiver's, as the
// links have it.
func TestHopsAmongClocksThatDiffer(t *testing.T) {
	t.Parallel()
	ahead := func(c *Config) { c.Now = func() time.Time { return time.Now().AddDate(3, 0, 0) } }
	nodes := []*Node{begin(t, loopbackConfig("ada"))}
	for _, name := range []string{"bob", "cyd"} {
		cfg := loopbackConfig(name, nodes[0])
		if name == "bob" {
			ahead(&cfg)
		}
		nodes = append(nodes, begin(t, cfg))
	}
	agree(t, nodes...)
	for i := range 30 {
		user := fmt.Sprint("user", i)
		for visit, n := range nodes {
			_, body := n.ask(t, user)
			require.Contains(t, body, fmt.Sprintf(`"user":%q,"visits":%d`, user, visit+1))
		}
	}
	for _, n := range nodes {
		require.Zero(t, n.router.Stats().Unproven)
	}
}
