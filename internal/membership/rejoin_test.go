package membership

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// One that tries for ever fills no log, and what is no member is none of
// another cluster.
func TestWarningsOfStrangersAreRare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newLogWriter(slog.New(slog.NewTextHandler(&log, nil)), "prod", new(gossipRefusals))
		call := func(label string) int {
			fmt.Fprintf(w, "[ERR] memberlist: discarding stream with unacceptable label %q: from=192.0.2.1:7\n", label)
			return strings.Count(log.String(), "another cluster")
		}
		require.Equal(t, 0, call(""))
		require.Equal(t, 1, call("staging"))
		require.Contains(t, log.String(), "level=WARN")
		require.Contains(t, log.String(), "cluster=prod theirs=staging address=192.0.2.1:7\n")
		require.Equal(t, 1, call("staging"))
		time.Sleep(strangerWarn)
		require.Equal(t, 2, call("staging"))
	})
}
