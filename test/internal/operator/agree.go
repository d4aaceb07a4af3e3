package operator

import (
	"context"
	"fmt"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/ring"
)

// Member is one that runs, and whose view of the others counts.
type Member struct {
	Name   string
	Node   bool // holds sessions: is an owner on the ring
	Pid    int
	Client *Client
}

// Settled says whether the members agree and are all ready.
func Settled(ctx context.Context, members []Member) error {
	if err := Agreed(ctx, members); err != nil {
		return err
	}
	for _, m := range members {
		if err := m.Client.Ready(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

// Agreed says whether the members show one ring, of exactly the nodes among
// them. What /admin/ring says of a member's process must be the truth.
func Agreed(ctx context.Context, members []Member) error {
	want := make(map[string]int)
	for _, m := range members {
		if m.Node {
			want[m.Name] = m.Pid
		}
	}
	first := ""
	for _, m := range members {
		r, err := m.Client.Ring(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		if first == "" {
			first = r.Fingerprint
		}
		if r.Fingerprint != first {
			return fmt.Errorf("%s has the ring %s, another one %s", m.Name, r.Fingerprint, first)
		}
		owners := ownersOf(r)
		if len(owners) != len(want) {
			return fmt.Errorf("%s sees %d owners, %d nodes run", m.Name, len(owners), len(want))
		}
		for _, o := range r.Members {
			if pid, ok := want[o.Name]; ok && (pid != o.Pid || !owners[o.Name]) {
				return fmt.Errorf("%s sees %s with pid %d, which has pid %d", m.Name, o.Name, o.Pid, pid)
			}
		}
	}
	return nil
}

// ownersOf returns the names that own partitions.
func ownersOf(r adminapi.Ring) map[string]bool {
	m := make(map[string]bool)
	for _, p := range r.Partitions {
		m[p.Owner] = true
	}
	return m
}

// OwnerOf names the owner of a key, by what a member shows of the ring.
func OwnerOf(r adminapi.Ring, key string) string {
	if p := ring.Partition(key); p < len(r.Partitions) {
		return r.Partitions[p].Owner
	}
	return ""
}
