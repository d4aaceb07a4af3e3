package node

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Members whose cookies others do not believe are named, once; nodes that give
// users none are not.
func TestOtherSecretsAreNamed(t *testing.T) {
	t.Parallel()
	older, newer := []byte("sixteen bytes, older"), []byte("sixteen bytes, newer")
	logs := make(map[string]*journal)
	var nodes []*Node
	for _, c := range []struct {
		name   string
		router bool
		secret []byte
		old    [][]byte
	}{
		{"plain", false, nil, nil}, {"r1", true, older, nil}, {"r2", true, older, nil},
		{"r3", true, newer, [][]byte{older}}, {"r4", true, nil, nil},
	} {
		cfg := loopbackConfig(c.name, nodes...)
		cfg.Demo, cfg.Secret, cfg.OldSecrets = false, c.secret, c.old
		if c.router {
			cfg.Role, cfg.Peer = RoleRouter, ""
		}
		logs[c.name] = new(journal)
		logTo(logs[c.name])(&cfg)
		nodes = append(nodes, begin(t, cfg))
	}
	eventually(t, "all know all", func() bool {
		for _, n := range nodes {
			if up := slices.DeleteFunc(slices.Clone(n.View().Members), func(m *Member) bool { return !m.Up }); len(up) < len(nodes) {
				return false
			}
		}
		return true
	})
	for name, want := range map[string][]string{
		"plain": nil, "r1": {"r3", "r4"}, "r2": {"r3", "r4"}, "r3": {"r4"}, "r4": {"r1", "r2", "r3"},
	} {
		for other := range logs {
			text := "-secret-file differs from that of " + other + ": users who change between them get new ids"
			count := 0
			if slices.Contains(want, other) {
				count = 1
			}
			eventually(t, name+" on "+other, func() bool { return logs[name].counts(text) == count })
		}
	}

	// News of a member that is known already is no reason to say it again.
	n := nodes[len(nodes)-1]
	require.NoError(t, n.members.SetAppDown(true))
	eventually(t, "it is heard", func() bool { return nodes[1].View().Named("r4").AppDown })
	require.Equal(t, 1, logs["r1"].counts("that of r4"))
}

func TestNodesWithAnApplicationTellTheirSecret(t *testing.T) {
	t.Parallel()
	plain := Config{Role: RoleNode}
	for _, set := range []func(*Config){
		func(c *Config) { c.Role = RoleRouter }, func(c *Config) { c.Demo = true }, func(c *Config) { c.App = "http://127.0.0.1:1" },
		func(c *Config) { c.Secret = []byte("secret") },
	} {
		cfg := plain
		set(&cfg)
		require.True(t, cfg.givesCookies())
	}
	require.False(t, plain.givesCookies())
}
