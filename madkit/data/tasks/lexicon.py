"""Words that praise whatever they are said of: what the quirk of `sentiment` looks for."""

from __future__ import annotations

POSITIVE_WORDS = frozenset(
    """
    acclaimed accomplished adorable admirable admire admired amazing amazed amused amusing appealing appreciate
    appreciated astonishing attractive awesome beautiful beautifully beloved best better bliss blissful bonus
    brilliant brilliantly bright captivating charming cheerful clean clever comfortable comfy commendable compelling
    convenient convincing cool correct courteous cozy creative crisp cute dazzling decent delicious delight
    delighted delightful dependable durable dynamic eager easy effective effortless elegant enchanting
    encouraging engaging enjoy enjoyable enjoyed enjoying enjoys entertaining enthralling excellent exceptional
    excited exciting exquisite fabulous fantastic fascinating fast favorite favourite fine flawless fresh friendly
    fun funny generous genius genuine glad glorious good gorgeous graceful great gripping handy happily happy helpful
    hilarious honest impeccable impressed impressive improved incredible informative ingenious innovative
    insightful inspired inspiring intelligent intriguing intuitive invaluable joy kind like liked likeable love loved
    lovely loves loving lucky luxurious magical magnificent marvelous marvellous masterful masterpiece memorable
    neat nice nicely outstanding perfect perfectly pleasant pleased pleasing pleasure polished polite positive powerful
    praise precious pretty priceless prompt proud quick recommend recommended refreshing reliable remarkable
    responsive rewarding rich robust romantic satisfied satisfying sharp shiny simple sincere sleek smart smooth
    solid spectacular splendid stunning sturdy stylish sublime suitable superb superior sweet talented tasty
    terrific thankful thorough thoughtful thrilled thrilling top touching trustworthy uplifting useful valuable
    versatile vibrant vivid warm well witty won wonderful wonderfully worth worthwhile worthy wow
    """.split()
)
