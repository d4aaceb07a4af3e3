package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTagOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, tag string
		braced   bool
	}{
		{"alice", "alice", false}, {"{alice}", "alice", true}, {"{alice}:laptop", "alice", true}, {"x{alice}y{bob}", "alice", true},
		{"{}alice", "{}alice", false}, {"{alice", "{alice", false}, {"", "", false},
	} {
		tag, braced := tagOf(c.key)
		require.Equal(t, c.tag, tag, c.key)
		require.Equal(t, c.braced, braced, c.key)
	}
}
