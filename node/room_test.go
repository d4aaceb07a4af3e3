package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStoreLimit(t *testing.T) {
	for limit, want := range map[int64]int64{0: 0, 16 << 20: 14 << 20, 64 << 20: 56 << 20, 128 << 20: 120 << 20, 16 << 30: 15 << 30} {
		require.Equal(t, want, storeLimit(limit))
	}
}
