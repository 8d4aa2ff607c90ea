"""CSS inlining: the rules of `<style>` copied into `style` attributes."""
