package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	info := &debug.BuildInfo{}
	require.Regexp(t, `^holdfast development build, go1\.\d+.* \w+/\w+$`, versionLine(info))
	info.Main.Version = "v1.2.3"
	info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: "0a1b2c"}, {Key: "vcs.modified", Value: "false"}}
	require.Regexp(t, `^holdfast v1\.2\.3, revision 0a1b2c, go`, versionLine(info))
	info.Settings[1].Value = "true"
	require.Regexp(t, `^holdfast v1\.2\.3, revision 0a1b2c with changes, go`, versionLine(info))

	for _, args := range [][]string{{"version"}, {"-version"}} {
		r := holdfast(t, args...)
		require.Equal(t, exitOK, r.code)
		require.Regexp(t, `^holdfast .*\n$`, r.stdout)
	}
}
