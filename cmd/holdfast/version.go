package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCommand struct{}

func (versionCommand) Run(s *streams) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	_, err := fmt.Fprintln(s.out, versionLine(info))
	return err
}

// versionLine tells which source a binary was built from, as far as the build
// recorded it, and by which Go for which system.
func versionLine(info *debug.BuildInfo) string {
	version, revision, modified := info.Main.Version, "", ""
	if version == "" || version == "(devel)" {
		version = "development build"
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = ", revision " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " with changes"
		}
	}
	return fmt.Sprintf("holdfast %s%s%s, %s %s/%s", version, revision, modified, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
