from synaptic.cli import main

raise SystemExit(main())
