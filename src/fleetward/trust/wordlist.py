"""The 2048 words in which people compare keys over the telephone.

Written for Fleetward. Eleven bits choose one word, so the list holds exactly 2048 of them, and the
place of a word is part of every format that shows words: a word is never added, removed or moved.

Rules that the list keeps, and that a test checks: lower-case letters only, four to eight of them;
sorted; no two words share their first five letters; none begins another; no two differ by a single
letter added, dropped or changed.
"""

from typing import Final

_TEXT: Final = """
    abacus abbey ability absence absolute absorb acacia academy accent acclaim accord account
    achieve acorn acquire acre acrobat actor address admiral admit adorable advance advert
    agenda agent agile agree airline airport airship ajar alarm album alcove alert algebra alley
    alliance almanac almond alpaca alphabet alpine alto amateur amazing amber ambition amid
    amount amuse anagram anatomy ancestor anchor ancient anecdote anemone angler animated
    announce annual answer anthem antique anvil anybody apex appetite applause apple approach
    apricot apron aquarium arcade archer archive archway arctic aria armadill armchair aroma
    artery article artwork aside aspect assemble asset assist athlete atlas atom attach attempt
    attend attic attitude attract attune auction audible audience aurora author autumn avatar
    average avocado avoid awake award awesome awning axiom axis axle azure backdrop backpack
    backyard bacon badger bagel baggage bagpipe baguette bakery balance balcony ballad balloon
    ballroom bamboo banana bandage banister banjo bank banner barbecue bargain barge barley
    barnyard barrel baseball basement basil bathroom bathtub batter beard bearing beauty beaver
    bedroom bedside bedtime beehive beetle believe bellows belong beloved bench bend benefit
    bevel bicycle binder biology birch birdbath birdcage birthday biscuit bison black blade
    blanket blazer blizzard blossom blotter bluebell bobcat bolt bonfire bongo bonnet bonus
    bookcase booklet bookmark bookshop border bounce bowl bracelet bracket brave breeze brick
    brief bright bring broad broccoli brochure bronze broom brother brownie brunch brush bubble
    bucket buckle budget buffalo bugle building bulb bulldog bulletin bumper bundle bungalow
    buoyant burger burrow bustling butcher button cabbage cabinet cactus cadet calendar calf
    camel camera campfire canal canary candid candle candy canopy canteen canvas canyon capable
    cape capital capsule captain capture caramel caravan carbon cardigan careful carnival
    carousel carpet carriage cashew cashier cashmere cassette castaway castle casual catfish
    cautious cavern cedar ceiling central century chain chalk champion chance chapter chariot
    charming checkers cheddar cheerful cheese cheetah chef cherry chestnut chicken chicory
    chimney chipmunk chive chorus chrome chuckle church cinema cinnamon circle circuit citizen
    citrus city civic claim clarinet clasp classic clay cleaner clear clemency clerk cliff
    climate climbing clinic clock closet cloud clutch coaster cobalt cobra cobweb coconut coffee
    cogwheel coin collar college colony column combine comedian comet comfort comic compass
    complete compress computer concert concrete confetti confirm congress connect consider
    constant consult contest contract conveyor convince copper coral cordial cork correct cosmos
    cottage couch cougar coupon courier court cousin cove cowbell cowboy crab crackle cradle
    crafty crane cream create credit crescent cricket crisp crocus crop crossing crown cruise
    crumble crust crystal cube cubicle cuckoo cucumber cuddle cunning cupboard cupcake cupid
    curator curious currency curry curtain curve cushion custard cutlery cylinder daffodil
    dainty daisy dancer daring darkroom darts dashing daybreak daylight daytime dazzle debate
    decade decent decibel decimal decisive declare decorate dedicate deep defend definite degree
    deliver delta dentist depart deposit describe deserve designer desire desk destiny detect
    develop device devote dewdrop diagonal diagram dialect diameter diamond diary diesel digest
    digger digital dingo dinner dinosaur director discus dispatch display dissolve distance
    district dive divide diving doctor document dolphin dome domino donate donkey doorbell
    doorknob doormat doorstep doorway double dragon drain drawer drawing dresser drift drink
    driver drizzle drum duckling duet dumpling dune durable dusty dynamo dynasty eager eagle
    early earnest earphone earthly eastern ebony echo ecology economic edition educate effort
    elastic elbow elder electric elegant element elephant elevate emblem embrace emerald emerge
    emperor employee enable encore energy engine engrave enigma enlarge enormous enrich enter
    entrance envoy epic episode equal equator equinox equip eraser escape espresso essay essence
    eternal evening event evidence exact examine example exchange excite exercise exhibit exist
    expect explain explorer exponent export express extend extra eyebrow eyelash fabric fabulous
    facility factory faithful falcon familiar famous fanfare fantasy farewell farmer farmland
    farmyard fashion father fearless fence fencing ferret fertile festival fetch fiction fiddle
    fidelity figure film filter finish firefly fireman flag flamingo flannel flapjack fleece
    flexible flick flight flint flood florist flounder flourish fluffy flurry foal focus fold
    foliage folklore fondue football foothill footpath forecast forehead forest forever forgive
    formula fortress fortune forum fossil fountain foxglove foyer fraction frame frank freedom
    freehand freesia freezer frequent fresh friday friend frigate frisbee frontier frosting
    fruit fudge funny furnace future gadget galaxy gallant galleon gallop game gangway garage
    garden garlic garment garnet gasket gateway gazelle gecko gemstone generate genetics genie
    genius genome gentle genuine geology geometry geranium gift gigantic ginger giraffe glacier
    glad glance glass gleam glen glimpse glitter glory glove glow goggles golden goldfish
    goodbye goodness goodwill goose gopher gorgeous gossip governor graceful gradual grammar
    granary granite granola grant grape grasp gravel gravity gravy green griddle grinder grotto
    grower guava guidance guide gutter habitat hacksaw haddock hallway hamlet hammer hammock
    hamster handbook handicap handmade handrail handsome hardware harmless harmony harp harvest
    hawthorn hayloft haystack hazel headband headlamp healthy heather heatwave heavenly hedgehog
    heirloom helipad helium helmet herald herbal heritage heroic heron hibiscus hickory hidden
    hide highland highway hillside hilltop hinge hippo history hobbit hoist holiday hollow holly
    hologram homepage homework honest honeydew hook hopeful horizon hornet hose hospital hotel
    hover humanity humble humid hungry hunter husband hydrant hydrogen iceberg icicle idea
    identify ignite iguana image imagine impact impala impress imprint improve incline include
    income increase index indicate indigo infant infinity inform innocent insert inspect inspire
    install instinct instruct intend internet intimate invent invite invoice involve inward iron
    island ivory jackal jacket jackpot jade jaguar jamboree jasmine javelin jelly jersey jester
    jetty jewel jigsaw jockey jogging joiner joker journey jovial joyful juggler juice jukebox
    jump junction jungle juniper junk jupiter justice kangaroo karate kelp kestrel keyboard
    keyhole keynote keystone kickoff kidney kimono kindling kindness kingdom kingfish kitchen
    kitten kiwi knapsack knock koala label lace ladder ladle ladybird lagoon lakeside lamp
    landing landlord landmark language lantern laser lasting latitude laugh laundry laurel
    lavender lavish lawful lawn lawyer leaf league leapfrog learn lecture ledge leek legacy
    legal legend lemon lemur lentil leopard lesson letter lettuce lever lexicon liberty library
    lifeboat lifelong lifetime likely lilac lily limerick limit lioness liquid list literary
    little lizard lobby lobster locate locker lofty logbook logic lollipop longboat lounge
    lowland lucid lullaby luminous lunar lunch luxury macaroni macaw machine magician magnet
    magnify magnolia magnum magpie mahogany mainland mainsail majestic makeover mammal mammoth
    manager mangrove mansion mantis manual maple maracas marathon marble margin marigold marimba
    marjoram marker marvel marzipan mason massive matchbox matinee matrix mattress mayor maypole
    meadow meantime measure meatball medicine medley megaphon melody memory mentor merchant
    mercy meringue mermaid message method metro midair midfield midnight mild mileage milkmaid
    millet mimosa mingle minnow minster miracle mirror mixture mobile mocha modem modern modest
    modify module mohair mole momentum monarch mongoose monitor monorail monument moon morning
    mortar mosaic moss motif motivate motor motto muesli mulberry multiply museum mushroom
    musical mystery mystic napkin narrator nation nautical navigate nebula necklace necktie
    nectar needle negative neon nephew neptune nerve nettle network neuron neutral newborn
    newcomer newt nibble nickel nickname nomad normal northern notebook notepad notice nourish
    novel nowhere nozzle nugget number numeral nursery nuthatch nutmeg nutshell nylon oarsman
    oasis oatmeal object oblong observe obtain obvious occasion occur octagon octave octopus
    offer office olive olympic onion onlooker onyx opal opera opinion optimal option oracle
    orange orbit orchard orchid ordinary oregano organ origami oriole ornate osprey ostrich
    otter ottoman outboard outcome outdoor outfit outgoing outline outlook outpost outshine
    outskirt oven overall overture oxygen oyster ozone padlock painting palace pamphlet pancake
    panda panel panorama panther pantry parade parakeet parcel pardon parish parking parrot
    parsley parsnip partner passage passion passport password pasta pastel pastime pasture path
    patio patriot pattern pavement pavilion payday payment peaceful peanut pebble peculiar
    pedestal pelican pencil pendant pendulum penguin penknife pentagon pepper percent perch
    perfect perform perfume petal petrol pharmacy pheasant photon physics pianist piccolo pickle
    picnic picture pigeon piglet pigtail pike pilgrim pilot pinball pinecone pingpong pink
    pinwheel pioneer pipeline piston pitcher pizza planet plank platform platinum platter
    playful playlist playmate plaza pleasure pleat plenty plover plug plumbing plume plunger
    plywood pocket poetic pointer polaroid polish polka pollen polygon poncho pony poodle
    popcorn poplar porridge portal porter portion portrait positive possible possum postage
    postbox postcard postman potato pottery poultry powder powerful prairie predict preface
    prefer prefix prepare preserve prestige pretty pretzel prevent primrose princess prism
    pristine private prize probable problem producer profile progress project promise promote
    prompt propose prosper protocol protract proud proverb provide prudent publish pudding
    puffin pulley pullover pulsar pumpkin puncture pupil puppet puppy purchase purple purpose
    purse puzzle pyramid python quail quantum quarter quasar queen question quilt quince quintet
    quiz rabbit raccoon radar radiator radio radium rafter ragtime railway rainbow raincoat
    rainfall raisin rake rally ranch random rapids rarity rating rational rattle raven ravioli
    reach realm recall receiver recharge recipe recorder recover recycle referee reflect refresh
    refuge regain regatta reggae regular reindeer relax release relevant reliable relish remedy
    remember reminder remix remote renew renown rental repair repeat replica reply reporter
    reptile republic request rescue research resemble resolve resort resource respect respond
    result return review revise reward rewind rhino rice ridge riding ringlet risotto ritual
    rivet roadside roam robin robust roller romantic roof rooster rope rosemary rotate roulette
    routine rowan rowboat rowing royalty rubber ruby ruffle rugged runway rural rustle sacred
    saddle sage sailboat salad salmon salsa salt salute sample sandal sandbox sander sandwich
    sapling sapphire sardine satin satisfy saturn saucepan sausage savanna sawdust scale scarf
    scarlet scenery scenic schedule scholar schooner science scissors scone scoop scooter
    scorpion scramble screen script scroll sculptor seafood seagull seahorse seaplane seaport
    search seashore seaside season seaweed secret secure seesaw segment select seltzer senator
    sensible sentence sequence sequoia serious sesame shadow shampoo shamrock shark shawl shed
    sheepdog shelf shelter shepherd sheriff shield shine shingle shipmate shipyard shirt shoebox
    shop shore shortcut shoulder shout shovel shower showroom shrimp shuffle shutter sidewalk
    signal signpost silence silicon silk silver similar simplify sincere sing sister sitar
    sizzle skate skating sketch skiing skillet skittle skylark skyward sleet slender slide
    slipper slogan slope smart smile smoothie snail snappy snapshot sneaker snorkel snowball
    snowdrop snowman snowshoe soccer sociable society sock sofa software soil solemn soloist
    solstice solution sombrero somebody someday somehow sonata soprano sort soybean spaceman
    spaniel spanner sparkle sparrow sparse speak speckle spectrum spelling sphere sphinx spice
    spider spinach spindle spiral spirit splash split sponge spoon spot spray sprinkle sprout
    spruce square squash squeeze squid squirrel stable stack stadium stallion stamp stand
    stapler stardust starfish startle station statue steamer steeple steer stem stencil steward
    sticker stocking stomach stool stork stove strap strategy stream street strength stretch
    stride striking string student studio sturdy stylish subject subtitle subway succeed sudden
    sugar suggest suitable suitcase summer summit sunbeam sunhat sunlight sunrise sunroof sunset
    sunshine sunspot superb supper supply surf surprise surround surveyor survive swallow swan
    sweater sweep swift swimmer swimsuit swirl switch swivel sycamore syllable symmetry sympathy
    symphony syrup system tablet tackle taco tactful tadpole tailor tailwind talent tandem
    tangent tapestry target tart task tasteful taxi teacher teacup teamwork teapot teaspoon
    telegram tempest temple tempo tenant tender tennis tenor tent termite terrace terrier
    textbook thank thatch thicket thimble thistle thorn thought thread thrifty thrive thrush
    thunder thursday tiara tiger tile tillage timber timely tinfoil tiptoe tissue toast toboggan
    together tomato tomboy tomorrow tongs toolbox tooth torch tornado tortilla tortoise total
    toucan tough tourist towel town tracker tractor trade traffic trailer trainee tram transit
    trapdoor trapeze treasure treble treetop trend tribe tribute tricycle trifle trilogy trinket
    trio tripod triumph trolley trombone trophy tropic trousers trout truck trumpet truss truth
    tuesday tugboat tulip tuna tundra tunic tunnel turbine turkey turmeric turnip turtle
    tutorial tutu tuxedo tweezers twig twine twinkle twist twosome typhoon typical ultimate
    ultra umbrella umpire uncle unfold unicorn uniform unique unit universe unlock unpack unplug
    upbeat upgrade uphold upland upright uptown upward uranus urban urge utmost vacation vaccine
    vacuum validate valuable vanilla variable variety vary vase vehicle velocity velvet venus
    veranda verb version vertical vessel vest veteran vicinity video viking villa vine vintage
    violet violin viper visible vision visitor visor vital vitamin vivid vocal volcanic voltage
    volume voucher voyage wafer waffle wagon walkway wallet walnut walrus waltz wand wardrobe
    warm washer watch watering website wedding weed weekday weekend weekly welcome wellness
    western wetland whaler wheat whenever whirl whisk whisper wicket wildcat wildfowl wildlife
    willing willow windfall windmill window windpipe winery wingspan winter wire wisdom wish
    wolf wombat wonder wooden woodland woodpile woodwind wool word workday worker workmate
    workout workshop worthy wreath wren writer yacht yard yearbook yearling yeast yellow yield
    young zealous zebra zenith zestful zesty zigzag zinc zinnia zodiac zoology zoom
"""

WORDS: Final[tuple[str, ...]] = tuple(_TEXT.split())
"""All words, sorted; the index of a word is its eleven-bit value."""
