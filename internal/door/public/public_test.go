package public

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/ring"
)

// id is the given boot of a member: a later one has the larger number.
func id(name string, boot int) member.ID {
	return member.ID{Name: name, Boot: fmt.Sprintf("%012x%08x", boot, 7)}
}

// up is the first boot of a ready node.
func up(name string) *member.Member {
	return &member.Member{
		ID: id(name, 1), Up: true,
		Meta: member.Meta{Role: member.RoleNode, State: member.StateReady, HTTP: name + ":80"},
	}
}

// viewOf is what the first of some members sees of them.
func viewOf(t testing.TB, members ...*member.Member) *member.View {
	t.Helper()
	v, err := member.NewView(members[0].ID, members, ring.Params{VirtualNodes: 100, Load: 1.25, Copies: 2}, nil)
	require.NoError(t, err)
	return v
}
