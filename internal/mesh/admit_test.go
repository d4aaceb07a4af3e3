package mesh

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A member whose address is told wrong tries again all the time, and fills no
// log.
func TestWarningsOfOtherAddressesAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := begin(t, "a", noSections)
		m.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		warned := func() int {
			m.gate.warnOfAddress(id("b"), netip.MustParseAddr("192.0.2.1"))
			return strings.Count(log.String(), "an address that is not its own")
		}
		require.Equal(t, 1, warned())
		require.Contains(t, log.String(), "from=192.0.2.1\n")
		require.Equal(t, 1, warned())
		time.Sleep(warnAgain)
		require.Equal(t, 2, warned())
	})
}
