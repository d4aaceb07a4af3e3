package ring_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/ring"
)

// The slots were computed by another implementation of CRC-16/XMODEM, that of
// Python (binascii.crc_hqx).
func TestSlotsAreThoseOfRedisCluster(t *testing.T) {
	for _, c := range []struct {
		key, tag string
		slot     int
	}{
		{"", "", 0},
		{"123456789", "123456789", 12739}, // the check value of CRC-16/XMODEM
		{"foo", "foo", 12182},
		{"foo{bar}zap", "bar", 5061},
		{"{user}:a", "user", 5474},
		{"user", "user", 5474},
		{"x{}y", "x{}y", 16116},              // nothing between the braces
		{"{}{a}", "{}{a}", 13650},            // only the first pair counts
		{"a{b", "a{b", 13340},                // never closed
		{"a}b{c", "a}b{c", 13587},            // closed before it is opened
		{"foo{{bar}}zap", "{bar", 4015},      // the first '{', the next '}'
		{"foo{bar}{zap}", "bar", 5061},       // the first pair
		{"{a}", "a", 15495},                  // the tag alone
		{"{a\x00\xff}b", "a\x00\xff", 12971}, // any bytes
	} {
		require.Equal(t, c.tag, ring.Tag(c.key), "tag of %q", c.key)
		require.Equal(t, bitwiseSlot(c.tag), c.slot, "slot of %q", c.key)
		require.Equal(t, c.slot, ring.Slot(c.key), "slot of %q", c.key)
		require.Equal(t, c.slot/16, ring.Partition(c.key), "partition of %q", c.key)
	}
}

func TestSlotsAreSpreadOverAllPartitions(t *testing.T) {
	require.Equal(t, ring.Slots, ring.Partitions*ring.SlotsPerPartition)
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		slot := ring.Slot(key)
		require.True(t, 0 <= slot && slot < ring.Slots)
		require.Equal(t, slot/ring.SlotsPerPartition, ring.Partition(key))
	})
}

func TestKeysOfOneTagShareASlot(t *testing.T) {
	tags := rapid.StringMatching(`[^{}]+`)
	rapid.Check(t, func(t *rapid.T) {
		tag := tags.Draw(t, "tag")
		key := rapid.StringMatching(`[^{]*`).Draw(t, "before") + "{" + tag + "}" + rapid.String().Draw(t, "after")
		require.Equal(t, tag, ring.Tag(key))
		require.Equal(t, ring.Slot(tag), ring.Slot(key))
	})
}

func FuzzTag(f *testing.F) {
	for _, key := range []string{"", "{", "}", "{}", "}{", "x{}y", "{user}:a", "a{b", "foo{{bar}}zap", "{}{a}"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		tag := ring.Tag(key)
		require.Equal(t, tagByByte(key), tag)
		if tag != key { // then it stands in braces
			require.Contains(t, key, "{"+tag+"}")
			require.NotEmpty(t, tag)
		}
	})
}

func FuzzSlot(f *testing.F) {
	for _, key := range []string{"", "a", "1234567", "12345678", "123456789", "{user}:a", strings.Repeat("\xff", 33)} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		require.Equal(t, bitwiseSlot(tagByByte(key)), ring.Slot(key))
	})
}

// bitwiseSlot is the definition of CRC-16/XMODEM: long division, bit by bit.
func bitwiseSlot(tag string) int {
	var crc uint16
	for _, c := range []byte(tag) {
		for bit := 7; bit >= 0; bit-- {
			in := uint16(c>>bit) & 1
			out := crc >> 15
			crc <<= 1
			if in != out {
				crc ^= 0x1021
			}
		}
	}
	return int(crc) % 16384
}

// tagByByte is the hash tag rule told as a walk over the bytes.
func tagByByte(key string) string {
	open := -1
	for i, c := range []byte(key) {
		switch {
		case c == '{' && open < 0:
			open = i
		case c == '}' && open >= 0:
			if i == open+1 {
				return key
			}
			return key[open+1 : i]
		}
	}
	return key
}
