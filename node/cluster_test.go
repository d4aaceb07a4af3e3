package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/ring"
)

// Every goroutine that these tests start must be gone at the end. memberlist
// does not wait for its own, which goleak gives a moment, and the Redis
// client's looks once a second whether its pool was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// journal keeps what a member logs.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) says(text string) bool { return j.counts(text) > 0 }

func (j *journal) counts(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

// loopbackConfig is the configuration of a member on free loopback ports.
func loopbackConfig(name string, seeds ...*Node) Config {
	c := Config{
		Name: name, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", Demo: true,
		DrainTimeout: 10 * time.Second, FoundAfter: -1,
	}
	for _, s := range seeds {
		c.Join = append(c.Join, s.self().Gossip)
	}
	return c
}

// self is how n tells of itself.
func (n *Node) self() *Member { return n.View().Member(n.id) }

// owners says whom n would ask.
func (n *Node) owners() public.Owners { return public.Owners{View: n.View, Decide: n.owner.Decide} }

// begin starts a member and ends it, without handing over, with the test.
func begin(t testing.TB, cfg Config) *Node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n, err := Start(ctx, cfg)
	if err != nil {
		cancel()
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		cancel()
		<-n.Done()
	})
	return n
}

// three starts three members that know each other, and waits until they agree.
func three(t testing.TB, change ...func(*Config)) []*Node {
	t.Helper()
	var nodes []*Node
	for i, name := range []string{"ada", "bob", "cyd"} {
		cfg := loopbackConfig(name, nodes[:min(i, 1)]...)
		for _, f := range change {
			f(&cfg)
		}
		nodes = append(nodes, begin(t, cfg))
	}
	agree(t, nodes...)
	return nodes
}

// stand waits until these agree, and have done so for as long as it takes until
// their ring says where copies are: a crash before that leaves it in doubt, and what
// is not found is not told as none.
func stand(t testing.TB, nodes ...*Node) {
	t.Helper()
	agree(t, nodes...)
	began := time.Now()
	eventually(t, "the ring has stood", func() bool { return time.Since(began) > 4*time.Second })
}

// agree waits until these are the members of one ring and own all of it.
func agree(t testing.TB, nodes ...*Node) {
	t.Helper()
	eventually(t, "members agree and all partitions are warm", func() bool {
		warmest := 0
		for _, n := range nodes {
			v := n.View()
			owned, cold := n.owner.Gate().Counts()
			if len(v.Nodes()) != len(nodes) || v.Table.Fingerprint() != nodes[0].View().Table.Fingerprint() || cold > 0 {
				return false
			}
			warmest += owned
		}
		return warmest == ring.Partitions
	})
}

// client holds no connection open, so that none outlives its test.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

// send makes one request and returns the answer, with its body read.
func send(t testing.TB, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	resp, err := client.Do(r)
	require.NoError(t, err)
	return resp, readAll(t, resp)
}

func readAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

func (n *Node) public(path string) string { return "http://" + n.self().HTTP + path }
func (n *Node) office(path string) string { return "http://" + n.self().Admin + path }

func put(t testing.TB, n *Node, key, value string) {
	t.Helper()
	resp, body := send(t, "PUT", n.public("/v1/sessions/"+key), fmt.Sprintf(`{"v":%q}`, value), "Content-Type", "application/json", "Holdfast-Ack", "all")
	require.Contains(t, []int{http.StatusCreated, http.StatusNoContent}, resp.StatusCode, body)
}

func get(t testing.TB, n *Node, key string) (*http.Response, string) {
	t.Helper()
	resp, body := send(t, "GET", n.public("/v1/sessions/"+key), "")
	if resp.StatusCode != http.StatusOK {
		return resp, body
	}
	var fields struct{ V string }
	require.NoError(t, json.Unmarshal([]byte(body), &fields))
	return resp, fields.V
}

func logTo(j *journal) func(*Config) {
	return func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}
