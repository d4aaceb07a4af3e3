// Package membertest makes up members, and finds what a view gives them, for
// tests.
package membertest

import (
	"fmt"
	"testing"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

// ID is the given boot of a member: a later one has the larger number.
func ID(name string, boot int) member.ID {
	return member.ID{Name: name, Boot: fmt.Sprintf("%012x%08x", boot, 7)}
}

// Up is a ready node as another one sees it.
func Up(name string, boot int) *member.Member {
	return &member.Member{
		ID: ID(name, boot), Meta: member.Meta{Role: member.RoleNode, State: member.StateReady, HTTP: name + ":80", Peer: name + ":83"},
		Gossip: "10.0.0.1:84", Up: true,
	}
}

// OwnedBy returns a partition that a view gives to a member.
func OwnedBy(t testing.TB, v *member.View, name string) int {
	t.Helper()
	for p := range ring.Partitions {
		if v.Table.Owner(p) == name {
			return p
		}
	}
	t.Fatalf("%s owns nothing", name)
	return -1
}

// KeyIn is a key of partition p.
func KeyIn(p int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint("key-", i); ring.Partition(key) == p {
			return key
		}
	}
}
