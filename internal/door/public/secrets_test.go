package public

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
)

var older, newer, other = []byte("sixteen bytes, older"), []byte("sixteen bytes, newer"), []byte("sixteen bytes, other")

func TestTagsTellSecretsApart(t *testing.T) {
	t.Parallel()
	require.Equal(t, NewSecrets(older, nil, nil).Tag(), NewSecrets(older, [][]byte{newer}, nil).Tag())
	require.NotEqual(t, NewSecrets(older, nil, nil).Tag(), NewSecrets(newer, nil, nil).Tag())
	require.NotEqual(t, NewSecrets(nil, nil, nil).Tag(), NewSecrets(nil, nil, nil).Tag(), "random ones")
	require.Equal(t, [][]byte{newer, older}, NewSecrets(newer, [][]byte{older}, nil).Cookies())
}

// A member whose cookies are not believed is named once, as long as it is
// known.
func TestDifferingSecretsAreNamedOnce(t *testing.T) {
	t.Parallel()
	s := NewSecrets(newer, [][]byte{older}, nil)
	with := func(name string, secret []byte) *member.Member {
		m := up(name)
		m.Secret = tagOf(secret)
		return m
	}
	self, same, silent, down := up("self"), with("same", newer), up("silent"), with("down", other)
	down.Up = false
	view := viewOf(t, self, same, with("before", older), with("differs", other), silent, down)
	require.Equal(t, []string{"differs"}, s.differing(view))
	require.Empty(t, s.differing(view))
	require.Empty(t, s.differing(viewOf(t, self, same)))
	require.Empty(t, s.differ, "it is forgotten")
	require.Equal(t, []string{"differs"}, s.differing(view), "it is back")
}
