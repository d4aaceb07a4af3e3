package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// series makes a request every 10 ms from a moment on, good or not.
func series(from time.Time, count int, good func(i int) bool) (list []point) {
	for i := range count {
		list = append(list, point{from.Add(time.Duration(i) * 10 * time.Millisecond), good(i)})
	}
	return list
}

func always(int) bool { return true }
func never(int) bool  { return false }

func TestShare(t *testing.T) {
	begin := time.Unix(1000, 0)
	points := append(series(begin, 100, never), series(begin.Add(time.Second), 100, func(i int) bool { return i != 7 })...)
	for _, c := range []struct {
		from, to time.Duration
		want     share
		text     string
	}{
		{0, time.Second, share{0, 100}, "0.0 %"},
		{time.Second, 2 * time.Second, share{99, 100}, "99.0 %"}, // the end is not in it, the beginning is
		{0, 2 * time.Second, share{99, 200}, "49.5 %"},
		{5 * time.Second, 6 * time.Second, share{}, "none sent"},
	} {
		got := shareOf(points, begin.Add(c.from), begin.Add(c.to))
		require.Equal(t, c.want, got)
		require.Equal(t, c.text, got.String())
	}
	require.Zero(t, share{}.ratio(), "no requests are no proof")
	require.Equal(t, "98.9 %", share{9899, 10000}.String(), "rounded down")
}

func TestRecovery(t *testing.T) {
	end := time.Unix(1000, 0)
	until := end.Add(5 * time.Second)
	took, ok := recovery(series(end, 500, always), end, until)
	require.True(t, ok)
	require.Zero(t, took)

	// What was before the end says nothing.
	took, ok = recovery(append(series(end.Add(-time.Second), 100, always), series(end, 500, never)...), end, until)
	require.False(t, ok)
	require.Equal(t, 5*time.Second, took)

	took, ok = recovery(append(series(end, 150, never), series(end.Add(1500*time.Millisecond), 350, always)...), end, until)
	require.True(t, ok)
	require.Equal(t, 1500*time.Millisecond, took)

	// A few good ones between bad ones are no recovery, nor is silence.
	_, ok = recovery(series(end, 500, func(i int) bool { return i%50 < 45 }), end, until)
	require.False(t, ok)
	_, ok = recovery(nil, end, until)
	require.False(t, ok)

	// What is not known yet does not count.
	_, ok = recovery(series(end, 500, always), end, end.Add(window-time.Millisecond))
	require.False(t, ok)
}

func TestScore(t *testing.T) {
	var s score
	at := time.Unix(1000, 0)
	s.add(at, 20*time.Millisecond, nil)
	s.add(at, inTime, nil)
	s.add(at, inTime+1, nil)
	s.add(at, time.Millisecond, errors.New("GET: 404"))
	s.add(at, time.Millisecond, errors.New("GET: 404"))
	s.add(at, 0, errMissed)
	require.Equal(t, share{2, 6}, s.share(at, at.Add(1)))
	told := s.complaints(at, at.Add(1))
	require.True(t, strings.HasPrefix(told, "2× GET: 404; "), told)
	require.Contains(t, told, "1× correct, but after more than 250ms")
	require.Contains(t, told, "1× not sent")
	require.Empty(t, s.complaints(at.Add(1), at.Add(2)))

	require.False(t, s.allLate(at, at.Add(1)), "404 is wrong, not late")
	s.add(at.Add(2), inTime+1, nil)
	require.True(t, s.allLate(at.Add(2), at.Add(3)))
	s.add(at.Add(2), time.Millisecond, errMissed)
	require.False(t, s.allLate(at.Add(2), at.Add(3)))
}

func TestCommonest(t *testing.T) {
	require.Equal(t, "3× b; 1× a; 2 other kinds", commonest(map[string]int{"a": 1, "b": 3, "c": 1, "d": 1}, 2))
	require.Empty(t, commonest(nil, 3))
}
