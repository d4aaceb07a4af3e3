package main

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFrames(t *testing.T) {
	frame := func(n int) []byte {
		b := make([]byte, 12+n)
		binary.LittleEndian.PutUint32(b[4:], uint32(n))
		return b
	}
	file := append(append(frame(1), frame(8)...), frame(3)...)
	require.Equal(t, []int{0}, frames(nil))
	require.Equal(t, []int{0, 13, 33, 48}, frames(file))
	require.Equal(t, []int{0, 13, 33}, frames(file[:47]), "the last one is torn")
	require.Equal(t, []int{0, 13, 33, 48}, frames(append(file, 1, 2, 3)))

	require.Equal(t, 33, lastIntact(file, nil))
	require.Equal(t, 13, lastIntact(file, []int{0, 33}))
	require.Equal(t, 0, lastIntact(file, []int{47, 32}))
	require.Equal(t, 0, lastIntact(file, []int{1, 14, 34}))
}
