package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A share is of what was sent in the time asked for, and of nothing it is none.
func TestServedShares(t *testing.T) {
	at := time.Now()
	v := &visits{}
	v.note(at, time.Second, "")
	v.note(at.Add(1*time.Second), 2*time.Second, "")
	v.note(at.Add(2*time.Second), time.Minute, "503")
	v.note(at.Add(3*time.Second), time.Minute, "")
	s := v.during(at.Add(time.Second), at.Add(3*time.Second))
	require.Equal(t, 0.5, s.share())
	require.Equal(t, 2*time.Second, s.slowest)
	require.Len(t, s.cases, 1)
	require.Zero(t, v.during(at.Add(time.Hour), at.Add(2*time.Hour)).share())

	r := &report{}
	s.row(r, "what", 0.5)
	require.False(t, r.broken())
	s.row(r, "what", 0.51)
	require.True(t, r.broken())
}
