import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "org.kerascnn.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "org.kerascnn.demo"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(
                getDefaultProguardFile("proguard-android-optimize.txt"),
                "proguard-rules.pro",
            )
        }
    }

    splits {
        abi {
            // A file for each kind of processor, and one for all. A bundle is split by the store, and
            // the plugin refuses both at once.
            val tasks = gradle.startParameter.taskNames
            isEnable = tasks.any { it.contains("release", ignoreCase = true) } &&
                tasks.none { it.contains("bundle", ignoreCase = true) }
            reset()
            include("arm64-v8a", "armeabi-v7a", "x86_64")
            isUniversalApk = true
        }
    }

    androidResources {
        // Models are mapped into memory where they lie in the package.
        noCompress += "tflite"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    testOptions {
        unitTests.isIncludeAndroidResources = true
        // By which Robolectric closes files.
        unitTests.all { it.jvmArgs("--add-opens=java.base/java.io=ALL-UNNAMED") }
    }
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_17
    }
}

dependencies {
    implementation(libs.litert)
    implementation(libs.litert.api)
    implementation(libs.litert.gpu)
    // Classes that the GPU delegate needs and does not carry.
    implementation(libs.litert.gpu.api)
    // Android's own is empty in tests without Robolectric.
    testImplementation(libs.json)
    testImplementation(libs.junit)
    testImplementation(libs.robolectric)
}
