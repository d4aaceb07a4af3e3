package redis

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/metric"
)

// Who shows the counters of a member finds those of the endpoint among them.
func TestCountersAreListed(t *testing.T) {
	counters := new(metric.Set)
	s, _ := open(t, func(cfg *Config) { cfg.Counters = counters })
	c := dial(t, s)
	c.do("PING")
	c.do("NOSUCHCOMMAND")
	counts := counters.Values()
	require.EqualValues(t, 1, counts["redis_accepted"])
	require.EqualValues(t, 1, counts["redis_errors"])
	require.Equal(t, s.Stats().Commands, counts["redis_commands"])
	require.Positive(t, counts["redis_commands"])
	for name := range counts {
		require.Regexp(t, "^redis_", name)
	}
}
