package redis

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/exchange"
)

// TestAnswersAreThoseOfRedis plays the scripts that were recorded with
// redis-server to the door of one node. test/respdiff plays them to both.
func TestAnswersAreThoseOfRedis(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/resp/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			script, err := exchange.Parse(filepath.Base(file), string(text))
			require.NoError(t, err)
			s, f := open(t, allowFlush)
			f.set(func() { f.now = time.Now() })
			answers, err := script.Play(func() (net.Conn, error) {
				ours, theirs := net.Pipe()
				s.ServeConn(theirs)
				return ours, nil
			})
			require.NoError(t, err)
			for _, d := range script.Compare(answers, true) {
				t.Error(d)
			}
		})
	}
}
