package node

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/seed-95a32959/holdfast/internal/visits"
	"github.com/seed-95a32959/holdfast/ring"
)

// One cluster, looked at from all sides: what leaves it as it was.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	nodes := three(t)
	t.Run("every key at every door", func(t *testing.T) { everyKeyAtEveryDoor(t, nodes) })
	t.Run("visits are counted exactly", func(t *testing.T) { visitsAreCountedExactly(t, nodes) })
	t.Run("garbage harms nobody", func(t *testing.T) { garbageHarmsNobody(t, nodes) })
	t.Run("admin door", func(t *testing.T) { adminDoor(t, nodes) })
	t.Run("a name that is taken", func(t *testing.T) { takenNameIsRefused(t, nodes) })
	t.Run("other parameters", func(t *testing.T) { otherParametersAreAskedFor(t, nodes) })
	t.Run("drain hands everything over", func(t *testing.T) { drainHandsEverythingOver(t, nodes) })
}

func everyKeyAtEveryDoor(t *testing.T, nodes []*Node) {
	table := nodes[0].View().Table
	for i := range 30 {
		key, value := fmt.Sprint("user-", i), fmt.Sprint("value-", i)
		put(t, nodes[i%3], key, value)
		for _, n := range nodes {
			resp, got := get(t, n, key)
			require.Equal(t, http.StatusOK, resp.StatusCode, got)
			require.Equal(t, value, got)
			require.Equal(t, table.Owner(ring.Partition(key)), resp.Header.Get("Holdfast-Node"), "every door names the same owner")
			require.Equal(t, table.Fingerprint(), resp.Header.Get("Holdfast-Ring"))
		}
		resp, body := send(t, "DELETE", nodes[(i+1)%3].public("/v1/sessions/"+key), "")
		require.Equal(t, http.StatusNoContent, resp.StatusCode, body)
		resp, _ = get(t, nodes[(i+2)%3], key)
		require.Equal(t, http.StatusGone, resp.StatusCode)
	}
	resp, _ := get(t, nodes[0], "never-seen")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}

// Visits at all doors at once: each is counted once, or refused and not
// counted.
func visitsAreCountedExactly(t *testing.T, nodes []*Node) {
	const parallel, each = 6, 15
	var mu sync.Mutex
	counts := make(map[int]int)
	var group errgroup.Group
	for i := range parallel {
		group.Go(func() error {
			for range each {
				resp, body := send(t, "GET", nodes[i%3].public("/"), "", "X-User-ID", "visitor")
				if resp.StatusCode != http.StatusOK {
					return fmt.Errorf("%s: %s", resp.Status, body)
				}
				var a visits.Answer
				if err := json.Unmarshal([]byte(body), &a); err != nil || a.User != "visitor" {
					return fmt.Errorf("%s: %w", body, err)
				}
				mu.Lock()
				counts[a.Visits]++
				mu.Unlock()
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Len(t, counts, parallel*each, "no two visits have the same number")
	for visit := 1; visit <= parallel*each; visit++ {
		require.Equal(t, 1, counts[visit], "visit %d", visit)
	}
}

// Whatever strangers send to the ports of members: they go on.
func garbageHarmsNobody(t *testing.T, nodes []*Node) {
	before := nodes[0].View().Table.Fingerprint()
	for _, garbage := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x00", strings.Repeat("\xff", 4096), strings.Repeat("\x00\x00\x00\x01", 1000), "\x7f\xff\xff\xff\x01",
	} {
		for _, address := range []string{nodes[0].self().Peer, nodes[0].self().Gossip} {
			conn, err := net.Dial("tcp", address)
			require.NoError(t, err)
			_, _ = conn.Write([]byte(garbage)) // the member may have closed it already
			require.NoError(t, conn.Close())
		}
		conn, err := net.Dial("udp", nodes[0].self().Gossip)
		require.NoError(t, err)
		_, err = conn.Write([]byte(garbage[:min(len(garbage), 1400)]))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	for _, n := range nodes {
		require.Equal(t, before, n.View().Table.Fingerprint())
		put(t, n, "after-garbage", n.id.Name)
		_, got := get(t, nodes[0], "after-garbage")
		require.Equal(t, n.id.Name, got)
	}
}

// A second process with the name of a running one is refused, and the running
// one does not even notice.
func takenNameIsRefused(t *testing.T, nodes []*Node) {
	ada, bob := nodes[0], nodes[1]
	put(t, bob, "keep", "me")
	claims, ring, deaths := bob.owner.Gate().ClaimsHash(), bob.View().Table.Fingerprint(), bob.members.DeathsOf("ada")

	n, err := Start(t.Context(), loopbackConfig("ada", bob))
	require.Nil(t, n)
	require.ErrorContains(t, err, `name "ada": taken by a running member at `+ada.self().Peer)
	require.ErrorContains(t, err, ada.id.Boot)
	require.ErrorContains(t, err, "give each member a name of its own")

	// Gossip of the second boot may still be on its way.
	for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		now := bob.View().Named("ada")
		require.True(t, now != nil && now.ID == ada.id, "bob takes %v for ada", now)
		require.Equal(t, ring, bob.View().Table.Fingerprint())
	}
	require.Equal(t, claims, bob.owner.Gate().ClaimsHash(), "no partition has moved")
	require.Equal(t, deaths, bob.members.DeathsOf("ada"), "nobody has died")
	agree(t, nodes...)
	_, got := get(t, bob, "keep")
	require.Equal(t, "me", got)
}

// Who joins with other parameters of the ring asks for them, and goes by those of
// the cluster as long as not all ask.
func otherParametersAreAskedFor(t *testing.T, nodes []*Node) {
	params := nodes[0].members.Params()
	for name, change := range map[string]func(*Config){
		"copies":        func(c *Config) { c.Copies = 3 },
		"virtual nodes": func(c *Config) { c.VirtualNodes = 50 },
		"load":          func(c *Config) { c.Load = 1.5 },
	} {
		cfg := loopbackConfig("dan", nodes[0])
		change(&cfg)
		n, err := Start(t.Context(), cfg)
		require.NoError(t, err, name)
		agree(t, append(slices.Clone(nodes), n)...)
		require.Equal(t, params, n.members.Params(), name)
		require.NotZero(t, nodes[0].View().Named("dan").Wants, "%s: the others know what it asks for", name)
		require.NoError(t, n.Shutdown(t.Context()))
		agree(t, nodes...)
	}
}
