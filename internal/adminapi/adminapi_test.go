package adminapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// The lines of a drain are told apart by what they have.
func TestDrainLines(t *testing.T) {
	for want, line := range map[string]Drain{
		`{"partitions":0,"unsynced":0}`:         {Partitions: new(0)},
		`{"partitions":12,"unsynced":340}`:      {Partitions: new(12), Unsynced: 340},
		`{"error":"nobody there","unsynced":3}`: {Error: "nobody there", Unsynced: 3},
		`{"done":true,"unsynced":0}`:            {Done: true},
	} {
		b, err := json.Marshal(line)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
		var back Drain
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, line, back)
	}
}

// A member of the cluster is one flat object, whose fields come from three.
func TestClusterMemberIsFlat(t *testing.T) {
	m := ClusterMember{SeenMember: SeenMember{Member: Member{Name: "a", Role: "node", Share: 0.5}, Link: "self"}}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	require.Equal(t, `{"name":"a","boot":"","role":"node","state":"","zone":"","weight":0,"http":"","admin":"","resp":"","peer":"","gossip":"",`+
		`"pid":0,"partitions":0,"share":0.5,"params":"","wants":"","wire":0,"link":"self","last_heard_ms":0,"clock_offset_ms":0,"dirty":0,"lag_ms":0,"stats":null}`, string(b))
}
