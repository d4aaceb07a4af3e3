package nodetest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Hosts: 3})
		c.StartAll(3)
		took, err := c.Agree(10 * time.Second)
		require.NoError(t, err)
		t.Logf("agreed %v after the start", took)
	})
}
