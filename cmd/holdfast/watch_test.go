package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// drawing is a picture that changes, fails once, and ends the watching.
func drawing(cancel context.CancelFunc) func(context.Context, io.Writer) error {
	n := 0
	return func(_ context.Context, w io.Writer) error {
		n++
		switch n {
		case 2:
			return errors.New("cannot reach a member")
		case 4:
			cancel()
		}
		_, err := fmt.Fprintf(w, "picture %d\n", n)
		return err
	}
}

func TestWatchShowsItEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var out strings.Builder
		begun := time.Now()
		f := watchFlags{Watch: true}
		require.NoError(t, f.watch(ctx, &out, drawing(cancel)))
		require.Equal(t, "picture 1\n\ncannot reach a member\n\npicture 3\n", out.String())
		require.Equal(t, 3*watchEvery, time.Since(begun))
	})
}

func TestWithoutWatchItIsShownOnce(t *testing.T) {
	var out strings.Builder
	var f watchFlags
	require.NoError(t, f.show(t.Context(), &out, drawing(nil)))
	require.Equal(t, "picture 1\n", out.String())
	require.Error(t, f.show(t.Context(), &out, func(context.Context, io.Writer) error { return errors.New("no") }))
}

func TestOnATerminalAPictureTakesThePlaceOfTheLast(t *testing.T) {
	var out strings.Builder
	f := watchFlags{Watch: true}
	require.NoError(t, f.put(&out, []byte("a\nb\n"), true, true))
	require.Equal(t, clearScreen+cursorHome+"a"+clearLine+"\nb"+clearLine+"\n"+clearBelow, out.String())
	out.Reset()
	require.NoError(t, f.put(&out, []byte("a\n"), true, false))
	require.NotContains(t, out.String(), clearScreen)
	out.Reset()
	f.JSON = true
	require.NoError(t, f.put(&out, []byte("{}\n"), true, false))
	require.Equal(t, "{}\n", out.String())
}
