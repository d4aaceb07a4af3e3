package node

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/router"
)

// What a visitor says who knows all names, and sends from a member's host, is a
// visitor's word, whatever the cluster shares.
func TestVisitorsAreNoMembers(t *testing.T) {
	t.Parallel()
	shared := []byte("the secret of all members")
	n := still(t, "a", func(c *Config) { c.Secret = shared })
	n.see(t, membertest.Up("b", 1))
	for i, secret := range [][]byte{nil, {}, []byte("a"), shared[:16]} {
		for _, to := range []string{"a", "a~", "a~" + strings.Repeat("0", 28), n.id.Name, ""} {
			r := httptest.NewRequest("GET", "/v1/sessions/k", nil)
			router.NewHopKey(secret, membertest.ID("b", 1).String(), to).Prove(r, membertest.ID("b", 1).String(), n.wall.Now())
			hop, err := n.endpoint.Router().Arrived(r)
			require.NoError(t, err)
			require.Nil(t, hop, "secret %d, as if to %q", i, to)
		}
	}
	require.NotZero(t, n.endpoint.Router().Stats().Unproven)
	require.EqualValues(t, n.endpoint.Router().Stats().Unproven, n.operator.Stats().Counters["hops_unproven"])
}

// Clocks may be years apart. The time in a proof is by the receiver's, as the
// links have it.
func TestHopsAmongClocksThatDiffer(t *testing.T) {
	t.Parallel()
	ahead := func(c *Config) { // a node would own nothing with such a clock
		c.Role, c.Peer, c.Demo = RoleRouter, "", false
		c.Now = func() time.Time { return time.Now().AddDate(3, 0, 0) }
	}
	nodes := []*Node{begin(t, loopbackConfig("ada"))}
	for _, name := range []string{"bob", "cyd"} {
		cfg := loopbackConfig(name, nodes[0])
		if name == "bob" {
			ahead(&cfg)
		}
		nodes = append(nodes, begin(t, cfg))
	}
	agree(t, nodes[0], nodes[2])
	eventually(t, "the router sees the ring", func() bool {
		return nodes[1].View().Table.Fingerprint() == nodes[0].View().Table.Fingerprint()
	})
	for i := range 30 {
		user := fmt.Sprint("user", i)
		for visit, n := range nodes {
			_, body := n.ask(t, user)
			require.Contains(t, body, fmt.Sprintf(`"user":%q,"visits":%d`, user, visit+1))
		}
	}
	for _, n := range nodes {
		require.Zero(t, n.endpoint.Router().Stats().Unproven)
	}
}
