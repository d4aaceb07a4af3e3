package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const (
	// giveUpAfter is how long the clients of a frozen node's own door wait
	// before they write elsewhere; by then its partitions have other owners.
	giveUpAfter = 1800 * time.Millisecond
	// giveUpPause is the shortest pause in which they can.
	giveUpPause = giveUpAfter + 500*time.Millisecond
	giveUpSize  = 64
)

// giveUps are sessions of clients that speak to a node directly, without the
// router. When the node is frozen they give up and write elsewhere; what they
// had sent first still lies in the node's socket, and must not be made when the
// node goes on.
type giveUps struct {
	keys   []string
	rounds int
	wrote  int      // writes made elsewhere and acknowledged
	undone []string // those that did not last
}

// newGiveUps stores the sessions.
func (b *bench) newGiveUps(ctx context.Context) (*giveUps, error) {
	g := &giveUps{}
	for i := range giveUpSize {
		g.keys = append(g.keys, fmt.Sprintf("give-up-%d", i))
	}
	answers, err := b.patch(ctx, g, "PUT", "stored")
	if err == nil {
		for i, a := range answers {
			if !a.ok() {
				return nil, fmt.Errorf("store %s: %v", g.keys[i], a)
			}
		}
	}
	return g, err
}

func (g *giveUps) requests(method, value string) []request {
	requests := make([]request, len(g.keys))
	for i, key := range g.keys {
		requests[i] = request{method: method, path: "/v1/sessions/" + key, ack: "replica", body: fmt.Sprintf(`{"value":%q}`, value)}
	}
	return requests
}

// patch writes one value to all of them through the router.
func (b *bench) patch(ctx context.Context, g *giveUps, method, value string) ([]answer, error) {
	answers := make([]answer, len(g.keys))
	_, err := b.router().door.send(ctx, g.requests(method, value), answers, requestTimeout)
	return answers, err
}

// giveUp writes to a node that has just been frozen, gives up, and writes
// elsewhere. It returns what must last, by key.
func (b *bench) giveUp(ctx context.Context, m *member, g *giveUps) (map[string]string, error) {
	g.rounds++
	c, err := dial(ctx, m.door.address)
	if err != nil {
		return nil, err
	}
	_ = c.exchange(ctx, g.requests("PATCH", fmt.Sprintf("late %d", g.rounds)), make([]answer, len(g.keys)), giveUpAfter) // nobody answers
	c.Close()
	value := fmt.Sprintf("new %d", g.rounds)
	answers, err := b.patch(ctx, g, "PATCH", value)
	if err != nil {
		return nil, err
	}
	lasting := make(map[string]string)
	for i, a := range answers {
		if a.ok() {
			lasting[g.keys[i]] = value
		}
	}
	return lasting, nil
}

// judgeGiveUps reads back what must have lasted.
func (b *bench) judgeGiveUps(ctx context.Context, g *giveUps, lasting map[string]string) {
	var ledgers []*ledger
	for _, key := range g.keys {
		ledgers = append(ledgers, &ledger{key: key})
	}
	for i, a := range readAll(ctx, b.router().door, ledgers) {
		want, ok := lasting[g.keys[i]]
		if !ok {
			continue
		}
		g.wrote++
		var got struct {
			Value string `json:"value"`
		}
		if err := json.Unmarshal(a.body, &got); err != nil || got.Value != want {
			g.undone = append(g.undone, fmt.Sprintf("%s is %q, not %q: %v", g.keys[i], got.Value, want, a))
		}
	}
}
